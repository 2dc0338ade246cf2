"""The root of every error this project raises, and the method's own.

    CamsearchError
    ├── ImageError            an image that cannot become a descriptor
    │   ├── UnreadableImage       damaged, empty, or no image at all
    │   ├── UnsupportedImage      an image, but of a kind we do not read
    │   ├── ImageTooSmall         fewer pixels a side than the method can use
    │   ├── ImageTooLarge         more bytes or pixels than allowed
    │   └── FeaturelessImage      nothing in it: one colour, or no activation at all
    ├── ArtifactError         weights or whitening missing, or not those expected
    ├── SettingsError         a setting with a value that cannot work
    └── RequestError          a search that asks for something impossible

Every message is a sentence with its remedy, since the command line and the
HTTP answers print it as it stands. Arguments are positional and handed to
``super().__init__``: keyword-only exceptions lose their type on the way
through a task queue's JSON.
"""

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
]


class CamsearchError(Exception):
    """Anything camsearch itself refuses or cannot do."""

    @property
    def reason(self) -> str:
        """The message, a sentence with its remedy."""
        return str(self.args[0]) if self.args else type(self).__name__


class ImageError(CamsearchError):
    """This image cannot become a descriptor; trying again will not help."""

    @property
    def kind(self) -> str:
        """A short stable name for lists and counts, such as ``unreadable_image``."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class UnreadableImage(ImageError):
    """The bytes are damaged, empty, or not an image."""


class UnsupportedImage(ImageError):
    """The bytes are an image, but of a kind that is not read."""


class ImageTooSmall(ImageError):
    """The image has too few pixels a side to hold a feature map."""


class ImageTooLarge(ImageError):
    """The image has more bytes or more pixels than is allowed."""


class FeaturelessImage(ImageError):
    """The image holds nothing to describe: one colour, or no activation."""


class ArtifactError(CamsearchError):
    """Weights or a whitening are missing, damaged, or not those expected."""


class SettingsError(CamsearchError):
    """A setting has a value with which the method cannot work."""


class RequestError(CamsearchError):
    """A search or a command asks for something impossible."""
