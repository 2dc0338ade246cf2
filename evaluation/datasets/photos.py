"""The protocol: which photos are gallery, query, positive and junk.

A folder of photos holds ``photos.csv`` (path, scene, capture, width, height; an empty scene
is a distractor) and, for queries with a box, ``queries.csv`` (path, x0, y0, x1, y1; pixels,
half-open) and ``junk.csv`` (path).

Source:
    photos/README.md: halves by scene, each tested with the whitening of the other.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from descriptors.arrays import Size
from descriptors.errors import RequestError
from evaluation.datasets.files import box_of, numbers, read_rows
from evaluation.trials import Judgement, Photo, PhotoQuery, Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from descriptors.arrays import Box

__all__ = ["COLLECTIONS", "Queries", "read_photos", "read_trials", "trials_of"]

Queries = Literal["full", "boxes"]

# The measure of queries in scenes of independent photos by many people: the hard ones.
COLLECTIONS = "collections"

_COLLECTION = "photo_collection"

_REMEDY = "name a folder with photos.csv (and queries.csv and junk.csv, for boxes)"


def read_trials(
    folder: Path, queries: Queries, fit_on: Path | tuple[Photo, ...] | None = None
) -> tuple[Trial, ...]:
    """The measurements a folder of photos gives.

    Args:
        folder: holds ``photos.csv`` and, for boxes, ``queries.csv`` and ``junk.csv``.
        queries: every scene's photo in full, or the boxes of ``queries.csv``.
        fit_on: another folder of the same form, or any photos. The whitening is fitted on all
            of it and the gallery is all of `folder`; without it, each half is tested with the
            other's.

    Raises:
        RequestError: for a file, column or photo that is missing, or no query with a positive.
    """
    photos = read_photos(folder)
    boxes = _read_boxes(folder, photos) if queries == "boxes" else None
    junk = _read_junk(folder, photos) if queries == "boxes" else frozenset[str]()
    fit = fit_on if fit_on is None or isinstance(fit_on, tuple) else read_photos(fit_on)
    return trials_of(photos, boxes, junk, fit)


def trials_of(
    photos: tuple[Photo, ...],
    boxes: Mapping[str, list[Box]] | None,
    junk: Collection[str],
    fit: tuple[Photo, ...] | None,
) -> tuple[Trial, ...]:
    """The measurements of photos whose scenes are known: every photo of a scene is a query.

    Args:
        photos: in order of their paths.
        boxes: of the queries, by path; None for full images.
        junk: paths of photos that are neither right nor wrong.
        fit: what the whitening is fitted on; None for half against half.

    Raises:
        RequestError: if there is no query with a positive.
    """
    parts = [photos] if fit is not None else list(_halves(photos))
    fits = [fit] if fit is not None else parts[::-1]
    names = ["all"] if fit is not None else ["half 0", "half 1"]
    return tuple(
        Trial(name, fit, part, _queries(part, boxes, junk))
        for name, fit, part in zip(names, fits, parts, strict=True)
    )


def read_photos(folder: Path) -> tuple[Photo, ...]:
    """The photos of a folder, in order of their paths.

    Raises:
        RequestError: without a ``photos.csv`` that has its columns, or with a path twice.
    """
    rows = read_rows(
        folder / "photos.csv", ("path", "scene", "capture", "width", "height"), _REMEDY
    )
    photos = sorted((_photo(row, folder) for row in rows), key=lambda photo: photo.path)
    for one, other in pairwise(photos):
        if one.path == other.path:
            raise RequestError(f"photos.csv names {one.path} twice: take one of the lines out.")
    return tuple(photos)


def _photo(row: Mapping[str, str], folder: Path) -> Photo:
    width, height = numbers(row, ("width", "height"), "photos.csv")
    size = Size(int(width), int(height))
    return Photo(row["path"], size, folder / row["path"], row["scene"], row["capture"])


def _halves(photos: tuple[Photo, ...]) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Scenes of even position and the first half of the distractors; then the rest."""
    scenes = sorted({photo.scene for photo in photos if photo.scene})
    distractors = [photo.path for photo in photos if not photo.scene]
    even, early = set(scenes[::2]), set(distractors[: len(distractors) // 2])
    first = tuple(p for p in photos if p.scene in even or p.path in early)
    return first, tuple(p for p in photos if p.scene not in even and p.path not in early)


def _queries(
    gallery: tuple[Photo, ...], boxes: Mapping[str, list[Box]] | None, junk: Collection[str]
) -> tuple[PhotoQuery, ...]:
    """Every query of a gallery that has a positive in it."""
    scenes: dict[str, set[str]] = defaultdict(set)
    for photo in gallery:
        scenes[photo.scene].add(photo.path)
    queries = [
        PhotoQuery(photo, box, _judgements(photo, positives, scenes, junk), photo.path)
        for photo in gallery
        if photo.scene and (positives := frozenset(scenes[photo.scene] - {photo.path}.union(junk)))
        for box in ([None] if boxes is None else boxes.get(photo.path, []))
    ]
    if not queries:
        raise RequestError(
            "No photo of this gallery is a query with a second photo of its scene (or instance): "
            "fill in the scenes (and, for boxes, the queries with their boxes). Without --fit-on "
            "each half of the scenes needs one."
        )
    return tuple(queries)


def _judgements(
    photo: Photo,
    positives: frozenset[str],
    scenes: Mapping[str, set[str]],
    junk: Collection[str],
) -> dict[str, Judgement]:
    """One judgement, under both measures where the scene is of a photo collection."""
    judgement = Judgement(positives, frozenset(scenes[photo.scene].intersection(junk)))
    measures = ("all", COLLECTIONS) if photo.capture == _COLLECTION else ("all",)
    return dict.fromkeys(measures, judgement)


def _read_boxes(folder: Path, photos: tuple[Photo, ...]) -> dict[str, list[Box]]:
    """The boxes of ``queries.csv`` by path; a photo may have several."""
    known = {photo.path for photo in photos if photo.scene}
    boxes: dict[str, list[Box]] = defaultdict(list)
    corners = ("x0", "y0", "x1", "y1")
    for row in read_rows(folder / "queries.csv", ("path", *corners), _REMEDY):
        if row["path"] not in known:
            raise RequestError(
                f"queries.csv names {row['path']}, which is no photo of a scene in photos.csv: "
                "correct the path."
            )
        found = numbers(row, corners, "queries.csv")
        boxes[row["path"]].append(box_of(found, f"queries.csv, {row['path']}"))
    return boxes


def _read_junk(folder: Path, photos: tuple[Photo, ...]) -> frozenset[str]:
    junk = frozenset(row["path"] for row in read_rows(folder / "junk.csv", ("path",), _REMEDY))
    unknown = sorted(junk.difference(photo.path for photo in photos))
    if unknown:
        raise RequestError(
            f"junk.csv names {unknown[0]}, which is no photo of photos.csv: correct the path."
        )
    return junk
