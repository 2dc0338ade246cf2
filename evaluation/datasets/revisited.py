"""ROxford5k and RParis6k: the revisited annotation, with easy, medium and hard.

``gnd_roxford5k.pkl`` (or ``gnd_rparis6k.pkl``) names the images of the gallery
(``imlist``) and the queries (``qimlist``), which are not among them, without ``.jpg``; and for
each query the box (``bbx``) and the ``easy``, ``hard`` and ``junk`` images by index in
``imlist``. The images are those of Oxford5k and Paris6k.

Source:
    Radenovic et al. 2018, "Revisiting Oxford and Paris", section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError, conlist

from descriptors.errors import RequestError
from evaluation.datasets.buildings import OXFORD, PARIS, Buildings
from evaluation.datasets.files import DatasetSource, box_of, require, stems
from evaluation.datasets.pickles import read_plain_pickle
from evaluation.trials import DatasetQuery, Judgement, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.datasets.facts import ImageFacts
    from evaluation.datasets.files import DatasetRequest, FoundImages

__all__ = ["ROXFORD", "RPARIS", "read_revisited"]

_PAGE = "http://cmp.felk.cvut.cz/revisitop/"

# Positives and junk of each measure; first the one that the benchmark's authors put first.
_MEASURES = {
    "medium": (("easy", "hard"), ("junk",)),
    "easy": (("easy",), ("junk", "hard")),
    "hard": (("hard",), ("junk", "easy")),
}


class _Query(BaseModel):
    """The annotation of one query, with indices of gallery images."""

    model_config = ConfigDict(frozen=True)

    bbx: conlist(float, min_length=4, max_length=4)
    easy: list[int]
    hard: list[int]
    junk: list[int]


class _Annotation(BaseModel):
    """The content of the file."""

    imlist: list[str]
    qimlist: list[str]
    gnd: list[_Query]


@dataclass(frozen=True)
class Revisited:
    """What differs between ROxford and RParis.

    Attributes:
        source: where the annotation comes from.
        buildings: the dataset with the images.
        annotation: name of the file.
        fit_on: example of what to fit the whitening on.
    """

    source: DatasetSource
    buildings: Buildings
    annotation: str
    fit_on: str

    def images(self, root: Path, facts: ImageFacts) -> FoundImages:
        """All images, queries too."""
        return self.buildings.images(root, facts)


ROXFORD = Revisited(DatasetSource("ROxford5k", _PAGE), OXFORD, "gnd_roxford5k.pkl", "paris6k:DIR")
RPARIS = Revisited(DatasetSource("RParis6k", _PAGE), PARIS, "gnd_rparis6k.pkl", "oxford5k:DIR")


def read_revisited(revisited: Revisited, request: DatasetRequest) -> tuple[Trial, ...]:
    """The one trial of ROxford5k or RParis6k.

    Raises:
        RequestError: for a file or image that is missing or damaged, or nothing to fit on.
    """
    source, root = revisited.source, request.root
    fit = request.fit_images(source, revisited.fit_on)
    path = next(iter(sorted(root.rglob(revisited.annotation))), None)
    if path is None:
        raise source.missing(f"the annotation {revisited.annotation}", root)
    annotation = _read(path)
    images = stems(revisited.images(root, request.facts).images, source)
    require({*annotation.imlist, *annotation.qimlist}, images, source, root)
    gallery = [images[name] for name in annotation.imlist]
    boxes = request.asks_boxes("boxes")
    paths = [image.path for image in gallery]
    queries = tuple(
        DatasetQuery(
            images[name],
            box_of(about.bbx, f"{path}, query {name}") if boxes else None,
            judgements,
            None,
        )
        for name, about in zip(annotation.qimlist, annotation.gnd, strict=True)
        if (judgements := _judgements(about, paths))
    )
    if not queries:
        raise RequestError(f"{path} has no query with a right answer: get it again from {_PAGE}.")
    return (Trial("all", fit, tuple(sorted(gallery, key=lambda p: p.path)), queries),)


def _judgements(about: _Query, paths: Sequence[str]) -> Mapping[str, Judgement]:
    """What counts under each measure that has a right answer to this query."""
    found = {}
    for measure, (positive, junk) in _MEASURES.items():
        positives = _paths(about, positive, paths)
        if positives:
            found[measure] = Judgement(positives, _paths(about, junk, paths))
    return found


def _paths(about: _Query, kinds: Sequence[str], paths: Sequence[str]) -> frozenset[str]:
    return frozenset(paths[number] for kind in kinds for number in getattr(about, kind))


def _read(path: Path) -> _Annotation:
    try:
        annotation = _Annotation.model_validate(read_plain_pickle(path, _PAGE))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"{path} is not the annotation of {_PAGE} ({where}: {first['msg']}): get it again."
        ) from error
    numbers = {n for query in annotation.gnd for n in (*query.easy, *query.hard, *query.junk)}
    if len(annotation.gnd) != len(annotation.qimlist) or not numbers <= set(
        range(len(annotation.imlist))
    ):
        raise RequestError(
            f"{path} is inconsistent: its queries or their images are not those of its lists. "
            f"Get it again from {_PAGE}."
        )
    return annotation
