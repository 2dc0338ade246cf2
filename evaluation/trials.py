"""What is measured: a gallery, its queries, and what counts as found.

Every dataset becomes trials; all other code only sees trials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box, Size

    # Called with what is being done, how many are done, and of how many.
    Progress = Callable[[str, int, int], None]

__all__ = ["DatasetImage", "DatasetQuery", "Judgement", "StreamedImages", "Trial", "all_images"]


@dataclass(frozen=True)
class DatasetImage:
    """One image of a dataset.

    Attributes:
        path: within the dataset's folder; its id in galleries and rankings.
        size: of the upright image, in pixels.
        file: its location.
        scene: what it shows, several things joined by ``;``; "" for a distractor or if unknown.
        capture: ``photo_collection`` for independent images by many people; "" if unknown.
        kind: of the things it shows, such as ``logo``; "" if unknown.
    """

    path: str
    size: Size
    file: Path
    scene: str = ""
    capture: str = ""
    kind: str = ""

    @property
    def things(self) -> tuple[str, ...]:
        """Everything that the image shows; a scene is one thing."""
        return tuple(thing for thing in self.scene.split(";") if thing)


@dataclass(frozen=True)
class Judgement:
    """What counts as found for one query.

    Attributes:
        positives: paths of the right answers, at least one; one that is not in the gallery
            counts as never found.
        junk: paths that are removed from the ranking.
    """

    positives: frozenset[str]
    junk: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DatasetQuery:
    """An image, or a box of it, to search for.

    Attributes:
        image: need not be in the gallery.
        box: in pixels of the image; None for the full image.
        judgements: by the name of a measure, such as ``all``, at least one. A measure without a
            right answer to this query is missing, and the query does not count in it.
        leave_out: path of a gallery image that is never an answer, usually the query's own;
            None if all count.
        places: boxes of the thing in right answers, by path; several in one image are
            alternatives. Right answers whose place is unknown are missing.
    """

    image: DatasetImage
    box: Box | None
    judgements: Mapping[str, Judgement]
    leave_out: str | None
    places: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The image's path, and its box if it has one."""
        if self.box is None:
            return self.image.path
        return f"{self.image.path} [{','.join(f'{v:g}' for v in self.box.as_list())}]"


@dataclass(frozen=True)
class StreamedImages:
    """Images that are too many to keep maps of.

    Attributes:
        folder: of the files.
        names: of the files within the folder, in order, each once.
        prefix: before a name, makes the image's path in rankings.
    """

    folder: Path
    names: tuple[str, ...]
    prefix: str

    def __len__(self) -> int:
        """The number of images."""
        return len(self.names)

    def path(self, row: int) -> str:
        """The id of an image in rankings."""
        return self.prefix + self.names[row]

    def file(self, row: int) -> Path:
        """The location of an image."""
        return self.folder / self.names[row]


@dataclass(frozen=True)
class Trial:
    """One measurement.

    Attributes:
        name: such as ``half 0``.
        fit: the images the whitening is fitted on; none for the packaged whitening.
        gallery: the images that are searched.
        streamed: more images that are searched, of which only vectors are kept.
        notes: sentences for the user, such as which files are left out.
    """

    name: str
    fit: tuple[DatasetImage, ...]
    gallery: tuple[DatasetImage, ...]
    queries: tuple[DatasetQuery, ...]
    streamed: StreamedImages | None = None
    notes: tuple[str, ...] = ()


def all_images(trials: Sequence[Trial]) -> list[DatasetImage]:
    """Every image whose maps some trials need, once, by file."""
    images = {
        image.file: image
        for trial in trials
        for image in (*trial.gallery, *trial.fit, *(query.image for query in trial.queries))
    }
    return list(images.values())
