"""The base class of all errors of this project, and the errors of the method.

    CamsearchError
    ├── ImageError
    │   ├── UnreadableImage
    │   ├── UnsupportedImage
    │   ├── ImageTooSmall
    │   ├── ImageTooLarge
    │   └── FeaturelessImage
    ├── ArtifactError
    ├── SettingsError
    └── RequestError

Every message is a sentence with a remedy: the command line and HTTP responses print it
unchanged. Arguments are positional, because keyword-only exceptions lose their type in a task
queue's JSON.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ArtifactError",
    "CamsearchError",
    "FeaturelessImage",
    "ImageError",
    "ImageTooLarge",
    "ImageTooSmall",
    "RequestError",
    "SettingsError",
    "UnreadableImage",
    "UnsupportedImage",
    "written",
]


class CamsearchError(Exception):
    """Anything that camsearch refuses or cannot do."""

    @property
    def reason(self) -> str:
        """The message, a sentence with a remedy."""
        return str(self.args[0]) if self.args else type(self).__name__


class ImageError(CamsearchError):
    """The image cannot be described; a retry does not help."""

    @property
    def kind(self) -> str:
        """A short stable name for lists and counts, such as ``unreadable_image``."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class UnreadableImage(ImageError):
    """The bytes are damaged, empty, or not an image."""


class UnsupportedImage(ImageError):
    """The image has a format or pixel type that is not supported."""


class ImageTooSmall(ImageError):
    """The shorter side of the image has too few pixels."""


class ImageTooLarge(ImageError):
    """The image has more bytes or pixels than allowed."""


class FeaturelessImage(ImageError):
    """The image has nothing to describe: one colour, or no activation."""


class ArtifactError(CamsearchError):
    """Weights or a whitening are missing, damaged, or not those expected."""


class SettingsError(CamsearchError):
    """A setting has a value that is not possible."""


class RequestError(CamsearchError):
    """A search or a command asks for something impossible."""


@contextmanager
def written(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Translate errors of writing a file that the caller named.

    Args:
        what: the file, such as ``--out my.safetensors``.
        errors: of a library, besides `OSError`.

    Raises:
        RequestError: it cannot be written.
    """
    caught: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except caught as error:
        raise RequestError(f"{what} cannot be written ({error}): choose another path.") from error
