"""INRIA Holidays, whose ground truth is in the names of the images.

``IIIIDD.jpg``: the first four digits are the scene, the last two count its images; 00 is the
query, the others are its right answers. The query is removed from its ranking.
``perfect_holidays_result.dat``, if present, is read instead of the names: a line per
query, ``query rank name rank name …``.

Source:
    Jégou et al. 2008, "Hamming embedding and weak geometry consistency"; full images.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.files import (
    DatasetSource,
    FoundImages,
    find_files,
    image_folder,
    images_of,
    incomplete_note,
    paths_within,
    read_words,
    require,
)
from evaluation.trials import DatasetQuery, Judgement, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evaluation.datasets.facts import ImageFacts
    from evaluation.datasets.files import DatasetRequest

__all__ = ["holidays_images", "read_holidays"]

HOLIDAYS = DatasetSource("Holidays", "https://lear.inrialpes.fr/people/jegou/data.php.html")

_PUBLISHED = 1_491
_IMAGES = ("jpg", "images")
_NAME = re.compile(r"\d{4}\d{2}")
_PERFECT = "perfect_*result.dat"


def holidays_images(root: Path, facts: ImageFacts) -> FoundImages:
    """The images whose names are six digits.

    Raises:
        RequestError: if there are none.
    """
    files = [f for f in find_files(image_folder(root, _IMAGES)) if _NAME.fullmatch(f.stem)]
    if not files:
        raise HOLIDAYS.missing("images named by six digits, such as 100000.jpg", root)
    return images_of(paths_within(files, root), facts)


def read_holidays(request: DatasetRequest) -> tuple[Trial, ...]:
    """The one trial of Holidays.

    Raises:
        RequestError: for an image that is missing or damaged, boxes, or nothing to fit on.
    """
    if request.asks_boxes("full"):
        raise RequestError("Holidays has no boxes: search with full images.")
    fit = request.fit_images(HOLIDAYS, "images:DIR")
    images = holidays_images(request.root, request.facts).all_readable()
    by_name = {image.file.name: image for image in images}
    if len(by_name) != len(images):
        raise RequestError("Two images of Holidays share a name: keep one copy of each.")
    paths = sorted(request.root.rglob(_PERFECT))
    answers = _perfect(paths[0]) if paths else _by_name(by_name)
    require(
        {n for q, found in answers.items() for n in (q, *found)}, by_name, HOLIDAYS, request.root
    )
    queries = tuple(
        DatasetQuery(
            by_name[name],
            None,
            {"all": Judgement(frozenset(by_name[n].path for n in found))},
            by_name[name].path,
        )
        for name, found in sorted(answers.items())
        if found
    )
    if not queries:
        what = "queries (names ending in 00, or lines of " + _PERFECT + ") with a second image"
        raise HOLIDAYS.missing(what, request.root)
    notes = incomplete_note(HOLIDAYS, len(images), _PUBLISHED)
    return (Trial("all", fit, images, queries, notes=notes),)


def _by_name(names: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """The right answers of each query, from the names."""
    scenes: dict[str, set[str]] = defaultdict(set)
    for name in names:
        scenes[name[:4]].add(name)
    return {n: frozenset(scenes[n[:4]] - {n}) for n in names if n[4:6] == "00"}


def _perfect(path: Path) -> dict[str, frozenset[str]]:
    """The right answers of each query, from the perfect result."""
    answers = {}
    for number, line in enumerate(read_words(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        query, ranks, found = words[0], words[1::2], words[2::2]
        if len(ranks) != len(found) or not all(rank.isdigit() for rank in ranks):
            raise RequestError(
                f"Line {number} of {path} is not `query rank name rank name …`: get it again."
            )
        answers[query] = frozenset(found) - {query}
    return answers
