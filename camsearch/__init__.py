"""Visual instance search: find other images of the same object, and where in each it is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camsearch.library import ImageLibrary, Machine

__all__ = ["ImageLibrary", "Machine"]


def __getattr__(name: str) -> Any:
    """Import the library lazily, so that ``camsearch --help`` does not import torch."""
    if name in __all__:
        return getattr(import_module("camsearch.library"), name)
    raise AttributeError(f"module 'camsearch' has no attribute {name!r}")
