"""Read and decode images in threads, and group them by shape."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from jaxtyping import UInt8
from torch import Tensor

from descriptors.arrays import Size
from descriptors.encoder import to_working_size
from descriptors.errors import CamsearchError, ImageError
from descriptors.images import ImageLimits, read_image
from descriptors.settings import MethodSettings
from galleries.checks import check_meta
from galleries.errors import MalformedDocument
from indexer.addresses import read_source, source_tag
from indexer.errors import MalformedRow, SourceUnreadable
from indexer.sources import Source, id_of_address
from indexer.web import WebAccess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from descriptors.machine import Machine

__all__ = [
    "IndexingPlan",
    "Prepared",
    "Refused",
    "batches_of_one_shape",
    "prepare_images",
    "refusal_tag",
    "tag_of",
    "would_be_refused",
]


@dataclass(frozen=True)
class IndexingPlan:
    """How to index.

    Attributes:
        batch_size: images per forward pass.
        readers: threads that read and decode.
        limits: larger images are refused.
        web: allowed hosts; none by default.
        again: encode unchanged images again.
        retry_rejects: retry unchanged images that were refused before.
        class_names: by class number, for the documents.
        coarse_maps: see `RegionSettings.coarse_maps`.
    """

    batch_size: int = 8
    readers: int = 4
    limits: ImageLimits = ImageLimits()
    web: WebAccess = WebAccess()
    again: bool = False
    retry_rejects: bool = False
    class_names: tuple[str, ...] = ()
    coarse_maps: bool = False

    @classmethod
    def on(cls, machine: Machine, **more: Any) -> IndexingPlan:
        """A plan with the machine's batch size, threads and limits."""
        return cls(machine.batch_size, machine.readers, machine.limits, **more)


@dataclass(frozen=True)
class Prepared:
    """A decoded image at working size."""

    source: Source
    tag: str
    digest: str
    size: Size
    pixels: UInt8[Tensor, "3 h w"]


@dataclass(frozen=True)
class Refused:
    """An image that could not be read, or whose metadata is invalid."""

    source: Source
    tag: str
    error: CamsearchError


def tag_of(source: Source) -> str:
    """A value that changes with the image, and with its address unless that is the id."""
    tag = source_tag(source.uri)
    return f"{tag} {source.uri}" if tag and source.id != source.uri else tag


def refusal_tag(source: Source, tag: str, limits: ImageLimits, meta_mapping: str) -> str:
    """A value that changes with everything a refusal depends on: file, metadata, limits, mapping.

    Args:
        source: the image.
        tag: see `tag_of`.
        limits: limits in use.
        meta_mapping: of the gallery.

    Returns:
        The tag, or "" if the file's state is unknown, so that the image is retried in each run.
        Rejects of unreadable images have "" too, see `reject_of`; tags of older versions of
        camsearch never match.
    """
    if not tag:
        return ""
    try:
        meta = repr(source.meta)
    except RecursionError:
        return ""
    made_of = [meta, repr(limits), meta_mapping, str(source.problem or "")]
    text = "\0".join(made_of).encode(errors="surrogatepass")
    return f"{tag} {hashlib.sha256(text).hexdigest()[:16]}"


def would_be_refused(
    source: Source, tag: str, made_of: str, limits: ImageLimits, meta_mapping: str
) -> bool:
    """Whether nothing has changed since a source was refused.

    Args:
        source, tag, limits, meta_mapping: see `refusal_tag`.
        made_of: the tag of the source's reject; "" if there is none.
    """
    return made_of != "" and made_of == refusal_tag(source, tag, limits, meta_mapping)


def prepare_images(
    sources: Iterable[Source], settings: MethodSettings, plan: IndexingPlan
) -> Iterator[Prepared | Refused]:
    """Read, decode and resize images in threads, in the order of the sources.

    Convention:
        The id of a source without one is the digest of its bytes.
    """
    stream = iter(sources)
    with ThreadPoolExecutor(plan.readers, "read") as readers:
        waiting: deque[Future[Prepared | Refused]] = deque()
        try:
            while True:
                for source in islice(stream, 2 * plan.batch_size - len(waiting)):
                    waiting.append(readers.submit(_prepare, source, settings, plan))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _prepare(source: Source, settings: MethodSettings, plan: IndexingPlan) -> Prepared | Refused:
    tag = tag_of(source)
    try:
        if source.problem is not None:
            raise source.problem
        check_meta(source.id or source.uri, source.meta)
        data = read_source(source.uri, plan.limits, plan.web)
        digest = hashlib.sha256(data).hexdigest()
        source = source if source.id else replace(source, id=digest)
        image = read_image(data, plan.limits, reduce_to=settings.side)
        pixels = to_working_size(image, settings)
    except (ImageError, SourceUnreadable, MalformedRow, MalformedDocument) as error:
        source = source if source.id else replace(source, id=id_of_address(source.uri))
        return Refused(source, tag, error)
    return Prepared(source, tag, digest, image.size, pixels)


def batches_of_one_shape(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Group images by shape into batches.

    Convention:
        Memory is bounded: when more than 16 batches' worth of images are held, the largest
        group is yielded before it is full.
    """
    waiting: dict[tuple[int, ...], list[Prepared]] = defaultdict(list)
    held = 0
    for image in prepared:
        group = waiting[tuple(image.pixels.shape)]
        group.append(image)
        held += 1
        if len(group) == batch_size or held > 16 * batch_size:
            shape = max(waiting, key=lambda s: len(waiting[s]))
            held -= len(waiting[shape])
            yield waiting.pop(shape)
    yield from waiting.values()
