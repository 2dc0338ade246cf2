"""A ground truth that its authors ship as a pickle, read without trusting it.

A pickle is a program: unpickled carelessly it runs whatever its writer wanted. Here it may
name only what lists of numbers and words need, and even of that nothing of numpy's is called:
stand-ins take the pickled parts of an array, and plain lists of numbers are made of them.
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

# Of a file; those of the revisited benchmark have well under one MB.
_MAX_BYTES = 64 * 2**20

_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "|"}


class _Numbers:
    """Stands in for numpy's dtype, of which it keeps kind, bytes and their order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _ORDERS[state[1]]

    def read(self, data: bytes | bytearray | str) -> list[float]:
        """The numbers in bytes (which Python 2 and old protocols give as latin-1 text)."""
        kind = np.dtype(self.order + self.code.lstrip("<>=|"))
        if kind.kind not in "iuf":
            raise pickle.UnpicklingError(f"numbers of the kind {self.code}")
        block = data.encode("latin1") if isinstance(data, str) else bytes(data)
        numbers: list[float] = np.frombuffer(block, kind).tolist()
        return numbers


class _Array:
    """Stands in for a numpy array, of which only the numbers count, in a row."""

    def __init__(self) -> None:
        self.numbers: list[float] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, _fortran, data = state
        self.numbers = _in_a_row(shape, kind.read(data))


def _array(*_class_shape_and_kind: object) -> _Array:
    """Stands in for numpy's ``_reconstruct``; the state comes after it."""
    return _Array()


def _array_at_once(data: bytes | bytearray, kind: _Numbers, shape: Any, _order: str) -> _Array:
    """Stands in for numpy's ``_frombuffer``."""
    array = _Array()
    array.numbers = _in_a_row(shape, kind.read(data))
    return array


def _number(kind: _Numbers, data: bytes | str) -> float:
    """Stands in for numpy's ``scalar``."""
    [number] = kind.read(data)
    return number


def _text_as_bytes(text: str, encoding: str) -> bytes:
    """Stands in for ``codecs.encode``, by which old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands in for ``bytes``, by which old protocols write none of them."""
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
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        """The stand-in of a name; every other name is refused."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None


def read_plain_pickle(path: Path, page: str) -> object:
    """What a pickle of words, numbers, lists, dicts and arrays of numbers holds.

    Args:
        path: of the file.
        page: where the real one is to be had.

    Returns:
        The same with every array as a list of its numbers.

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
        # Whatever a made-up stream of opcodes leads to: it is the file's fault.
        raise RequestError(
            f"{path} is not read, since it is damaged or holds what no ground truth needs "
            f"({error or type(error).__name__}); it may do harm. Get it from {page}."
        ) from error


def _plain(value: object) -> object:
    """Arrays as lists, all the way down."""
    if isinstance(value, _Array):
        return value.numbers
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise pickle.UnpicklingError(type(value).__name__)
