"""What is measured: a gallery, its queries, and what counts as found.

Every dataset becomes trials; everything after that knows trials only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box, Size

    # Told what is done, how many of it, and of how many.
    Progress = Callable[[str, int, int], None]

__all__ = ["Judgement", "Photo", "PhotoQuery", "StreamedPhotos", "Trial", "all_photos"]


@dataclass(frozen=True)
class Photo:
    """One photo of a dataset.

    Attributes:
        path: within the dataset's folder; its id in galleries and rankings.
        size: of the upright image, in pixels.
        file: where it lies.
        scene: what it shows; "" for a distractor, or where the dataset does not say.
        capture: ``photo_collection`` for independent photos by many people; "" where unsaid.
    """

    path: str
    size: Size
    file: Path
    scene: str = ""
    capture: str = ""


@dataclass(frozen=True)
class Judgement:
    """What counts as found for one query.

    Attributes:
        positives: paths of the right answers, at least one; one that is not in the gallery
            counts as never found.
        junk: paths that are taken out of the ranking.
    """

    positives: frozenset[str]
    junk: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PhotoQuery:
    """A photo, or a box of it, that is searched for.

    Attributes:
        photo: what is asked with; it need not stand in the gallery.
        box: in pixels of the photo; None for the full image.
        judgements: by the name of a measure, such as ``all``; a measure that has no right answer
            to this query is left out, and the query does not count in it. At least one.
        leave_out: path of a gallery photo that is never an answer (the query's own, where a
            dataset's protocol removes it); None where all count.
    """

    photo: Photo
    box: Box | None
    judgements: Mapping[str, Judgement]
    leave_out: str | None

    @property
    def name(self) -> str:
        """The photo's path, and its box where it has one."""
        if self.box is None:
            return self.photo.path
        return f"{self.photo.path} [{','.join(f'{v:g}' for v in self.box.as_list())}]"


@dataclass(frozen=True)
class StreamedPhotos:
    """Photos that are too many to keep maps of: a folder, and names within it.

    Attributes:
        folder: where they lie.
        names: their files within the folder, in order; each comes once.
        prefix: before a name it makes the photo's path in rankings.
    """

    folder: Path
    names: tuple[str, ...]
    prefix: str

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    def path(self, row: int) -> str:
        """Of one photo, its id in rankings."""
        return self.prefix + self.names[row]

    def file(self, row: int) -> Path:
        """Where one photo lies."""
        return self.folder / self.names[row]


@dataclass(frozen=True)
class Trial:
    """One measurement.

    Attributes:
        name: such as ``half 0``.
        fit: the photos the whitening is fitted on.
        gallery: the photos that are searched.
        queries: what is asked.
        streamed: more photos that are searched, of which only vectors are kept; None for none.
        notes: sentences that people should read, such as which files are left out.
    """

    name: str
    fit: tuple[Photo, ...]
    gallery: tuple[Photo, ...]
    queries: tuple[PhotoQuery, ...]
    streamed: StreamedPhotos | None = None
    notes: tuple[str, ...] = ()

    @property
    def photos(self) -> tuple[Photo, ...]:
        """Every photo whose maps are needed, once: gallery, fit, and queries outside of both."""
        asked = (query.photo for query in self.queries)
        return tuple(dict.fromkeys((*self.gallery, *self.fit, *asked)))


def all_photos(trials: Sequence[Trial]) -> list[Photo]:
    """Every photo of some trials once, by its file; a query's too, where it is in no gallery."""
    return list({photo.file: photo for trial in trials for photo in trial.photos}.values())
