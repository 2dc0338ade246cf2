"""What is measured: a gallery, its queries, and what counts as found.

Every dataset becomes trials; everything after that knows trials only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from descriptors.arrays import Box, Size

__all__ = ["Judgement", "Photo", "PhotoQuery", "Trial"]


@dataclass(frozen=True)
class Photo:
    """One photo of a dataset.

    Attributes:
        path: within the dataset's folder; its id in galleries and rankings.
        size: of the upright picture, in pixels.
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
        positives: paths of the right answers, at least one.
        junk: paths that are taken out of the ranking.
    """

    positives: frozenset[str]
    junk: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PhotoQuery:
    """A photo, or a box of it, that is searched for.

    Attributes:
        photo: what is asked with; it need not stand in the gallery.
        box: in pixels of the photo; None for the full picture.
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
class Trial:
    """One measurement.

    Attributes:
        name: such as ``half 0``.
        fit: the photos the whitening is fitted on.
        gallery: the photos that are searched.
        queries: what is asked.
    """

    name: str
    fit: tuple[Photo, ...]
    gallery: tuple[Photo, ...]
    queries: tuple[PhotoQuery, ...]
