"""Photo files as pixels at the working size, decoded ahead of the network by a few threads."""

from __future__ import annotations

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from descriptors.arrays import Size
from descriptors.encoder import to_working_size
from descriptors.errors import ImageError, RequestError
from descriptors.images import Picture, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from descriptors.settings import MethodSettings

__all__ = ["ENCODE_BATCH", "Decoded", "decode", "read_bytes", "read_picture"]

# Pictures of one shape that pass the network together.
ENCODE_BATCH = 8
# Decoding frees the GIL; a few pictures wait ready, never the whole folder.
_DECODERS, _READY = 4, 24


@dataclass(frozen=True)
class Decoded:
    """One photo, ready for the network.

    Attributes:
        key: what the caller knows it by.
        size: of the upright picture, in pixels.
        pixels: at the working size.
    """

    key: str
    size: Size
    pixels: UInt8[Tensor, "3 h w"]


def decode(
    files: Iterable[tuple[str, Path]],
    settings: MethodSettings,
    unreadable: Callable[[str, RequestError], None] | None = None,
) -> Iterator[list[Decoded]]:
    """Photos in groups of one working size, `ENCODE_BATCH` at most.

    Args:
        files: each with a key of the caller's.
        settings: say the working size.
        unreadable: told of a file that is no picture we read, and left out; None to stop there.

    Raises:
        RequestError: for a file that is missing or cannot be read, and for one that is no
            picture, unless somebody is told.
    """
    waiting: dict[tuple[int, ...], list[Decoded]] = defaultdict(list)
    with ThreadPoolExecutor(_DECODERS, "decode") as pool:
        for key, ready in _ahead(pool, files, settings):
            try:
                one = ready.result()
            except RequestError as error:
                if unreadable is None or not isinstance(error.__cause__, ImageError):
                    raise
                unreadable(key, error)
                continue
            shape = tuple(one.pixels.shape)
            waiting[shape].append(one)
            if len(waiting[shape]) == ENCODE_BATCH:
                yield waiting.pop(shape)
    yield from waiting.values()


def read_picture(file: Path) -> Picture:
    """The pixels of a photo.

    Raises:
        RequestError: if it is missing or cannot be read.
    """
    try:
        return read_image(read_bytes(file))
    except ImageError as error:
        raise RequestError(f"{file}: {error.reason}") from error


def read_bytes(file: Path) -> bytes:
    """A photo's file.

    Raises:
        RequestError: if it is missing or cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise RequestError(
            f"{file} cannot be read ({type(error).__name__}): "
            "correct its path in the dataset's list, or put the file there."
        ) from error


def _ahead(
    pool: ThreadPoolExecutor, files: Iterable[tuple[str, Path]], settings: MethodSettings
) -> Iterator[tuple[str, Future[Decoded]]]:
    """Photos decoded by the pool, in order, never many more than have been taken."""

    def one(key: str, file: Path) -> Decoded:
        picture = read_picture(file)
        return Decoded(key, picture.size, to_working_size(picture, settings))

    ready: deque[tuple[str, Future[Decoded]]] = deque()
    for key, file in files:
        ready.append((key, pool.submit(one, key, file)))
        if len(ready) > _READY:
            yield ready.popleft()
    yield from ready
