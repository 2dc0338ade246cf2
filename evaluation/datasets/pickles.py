"""Read a ground truth that its authors publish as a pickle, without trusting it.

Unpickling can run any code. Here a pickle may only name what lists of numbers and strings need,
and nothing of numpy is called: stand-ins take the pickled parts of an array.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_plain_pickle"]

# Files of the revisited benchmark have well under one MB.
_MAX_BYTES = 64 * 2**20

_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "|"}


class _Numbers:
    """Replaces numpy's dtype: its kind, bytes and byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _ORDERS[state[1]]

    def read(self, data: bytes | bytearray | str) -> list[float]:
        """The numbers in bytes (which Python 2 and old protocols write as latin-1 text)."""
        kind = np.dtype(self.order + self.code.lstrip("<>=|"))
        if kind.kind not in "iuf":
            raise pickle.UnpicklingError(f"numbers of the kind {self.code}")
        block = data.encode("latin1") if isinstance(data, str) else bytes(data)
        numbers: list[float] = np.frombuffer(block, kind).tolist()
        return numbers


class _Array:
    """Replaces a numpy array; keeps its numbers in a flat list."""

    def __init__(self) -> None:
        self.numbers: list[float] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, _fortran, data = state
        self.numbers = _in_a_row(shape, kind.read(data))


def _array(*_class_shape_and_kind: object) -> _Array:
    """Replaces numpy's ``_reconstruct``; the state follows."""
    return _Array()


def _array_at_once(data: bytes | bytearray, kind: _Numbers, shape: Any, _order: str) -> _Array:
    """Replaces numpy's ``_frombuffer``."""
    array = _Array()
    array.numbers = _in_a_row(shape, kind.read(data))
    return array


def _number(kind: _Numbers, data: bytes | str) -> float:
    """Replaces numpy's ``scalar``."""
    [number] = kind.read(data)
    return number


def _text_as_bytes(text: str, encoding: str) -> bytes:
    """Replaces ``codecs.encode``, with which old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Replaces ``bytes``, with which old protocols write empty bytes."""
    return b""


def _in_a_row(shape: Any, numbers: list[float]) -> list[float]:
    wide = [int(side) for side in np.atleast_1d(shape) if side != 1]
    if len(wide) > 1 or int(np.prod(wide, dtype=np.int64)) != len(numbers):
        raise pickle.UnpicklingError(f"an array of {shape} with {len(numbers)} numbers")
    return numbers


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: Mapping[tuple[str, str], Callable[..., object]] = {
    **{(module, "_reconstruct"): _array for module in _NUMPY},
    **{(module, "scalar"): _number for module in _NUMPY},
    ("numpy.core.numeric", "_frombuffer"): _array_at_once,
    ("numpy._core.numeric", "_frombuffer"): _array_at_once,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Numbers,
    ("_codecs", "encode"): _text_as_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    """Allows only the stand-ins."""

    def find_class(self, module: str, name: str, /) -> Any:
        """The stand-in of a name; all other names are refused."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None


def read_plain_pickle(path: Path, page: str) -> object:
    """The strings, numbers, lists and dicts of a pickle, with arrays as flat lists of numbers.

    Args:
        page: where to get the real file, for the error.

    Raises:
        RequestError: if it cannot be read, is damaged, or names anything else.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise pickle.UnpicklingError(f"{len(data):,} bytes")  # noqa: TRY301 - one sentence
        return _plain(_PlainUnpickler(BytesIO(data), encoding="latin1").load())
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({type(error).__name__}).") from error
    except Exception as error:
        # Arbitrary opcodes can raise anything.
        raise RequestError(
            f"{path} is damaged or contains what no ground truth needs "
            f"({error or type(error).__name__}), and may be harmful. Get it from {page}."
        ) from error


def _plain(value: object) -> object:
    """Replace arrays by lists, recursively."""
    if isinstance(value, _Array):
        return value.numbers
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise pickle.UnpicklingError(type(value).__name__)
