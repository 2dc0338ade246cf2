"""What is asked of a dataset's reader, and what is said where a file is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from evaluation.photo_facts import PhotoFacts
    from evaluation.photos import Queries
    from evaluation.trials import Photo

__all__ = ["Request", "Source"]


@dataclass(frozen=True)
class Source:
    """Where the official files of a dataset come from.

    Attributes:
        name: as people write it, such as Oxford5k.
        page: of its authors.
    """

    name: str
    page: str

    def missing(self, what: str, root: Path) -> RequestError:
        """The error that names what is not there, and where it is to be had."""
        return RequestError(
            f"{self.name} needs {what} under {root}: get it from the official page, {self.page}, "
            "and unpack it there."
        )


@dataclass(frozen=True)
class Request:
    """What is asked of a reader.

    Attributes:
        root: folder of the dataset (or the CSV file of one's own).
        queries: full pictures or boxes; None as the dataset's own protocol has it.
        fit: what the whitening is fitted on; None if nothing was named.
        facts: sizes of photo files.
    """

    root: Path
    queries: Queries | None
    fit: tuple[Photo, ...] | None
    facts: PhotoFacts

    def asks_boxes(self, default: Queries) -> bool:
        """Whether queries have boxes."""
        return (self.queries or default) == "boxes"

    def fit_photos(self, source: Source, example: str) -> tuple[Photo, ...]:
        """What the whitening is fitted on, for a dataset that never fits on itself.

        Raises:
            RequestError: if nothing was named.
        """
        if self.fit is None:
            raise RequestError(
                f"{source.name} fits the whitening on another collection: name one with "
                f"--fit-on, such as {example} (pictures:DIR is any folder of pictures)."
            )
        return self.fit
