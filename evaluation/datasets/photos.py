"""Your own photos as trials: a folder with ``photos.csv``, or a folder of instances.

``photos.csv`` has the columns path, scene ("" for a distractor), capture, width and height.
For queries with a box there are also ``queries.csv`` (path, x0, y0, x1, y1; pixels, half-open)
and ``junk.csv`` (path).

In a folder of instances each subfolder is an instance; images beside the subfolders, and those
in ``distractors``, are distractors. ``instances.csv`` in the folder, or any CSV named instead of
a folder, overrides this: it has the columns path (relative to the CSV) and instance ("" for a
distractor), and optionally x0, y0, x1, y1 (the box of a query; "" for none) and junk (1 for an
image in which the instance is hardly visible, which then counts as neither right nor wrong).

Every image of a scene or instance is a query, and is removed from its own ranking; with boxes,
only images that have one are queries.

Source:
    photos/README.md: halves by scene, each tested with the whitening of the other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from descriptors.arrays import Size
from descriptors.errors import RequestError
from evaluation.datasets.files import (
    FoundPhotos,
    box_of,
    find_files,
    numbers,
    paths_within,
    photos_of,
    read_rows,
)
from evaluation.trials import Judgement, Photo, PhotoQuery, Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from evaluation.datasets.facts import PhotoFacts
    from evaluation.datasets.files import Request

    # The boxes of queries, by path.
    Boxes = Mapping[str, list[Box]]

__all__ = [
    "COLLECTIONS",
    "Queries",
    "folder_photos",
    "read_folder",
    "read_photos",
    "read_trials",
    "trials_of",
]

Queries = Literal["full", "boxes"]

# The measure of queries in scenes of independent photos by many people: the hard ones.
COLLECTIONS = "collections"

_COLLECTION = "photo_collection"
_INSTANCES, _DISTRACTORS = "instances.csv", "distractors"
_CORNERS = ("x0", "y0", "x1", "y1")
_JUNK = {"1": True, "0": False, "": False}

_PHOTOS_REMEDY = "name a folder with photos.csv (and queries.csv and junk.csv, for boxes)"
_FOLDER_REMEDY = (
    "name a folder with a subfolder per instance, or a CSV with the columns path and instance"
)
_REPAIR = "remove them from the folder (and the CSV), or repair them"


def read_trials(
    folder: Path, queries: Queries, fit_on: Path | tuple[Photo, ...] | None = None
) -> tuple[Trial, ...]:
    """The trials of a folder with ``photos.csv``.

    Args:
        folder: also has ``queries.csv`` and ``junk.csv``, for boxes.
        queries: every photo of a scene in full, or the boxes of ``queries.csv``.
        fit_on: another such folder, or any photos, to fit the whitening on; the gallery is then
            all of `folder`. Without it, each half is tested with the whitening of the other.

    Raises:
        RequestError: for a file, column or photo that is missing, or no query with a positive.
    """
    photos = read_photos(folder)
    boxes = _read_boxes(folder, photos) if queries == "boxes" else None
    junk = _read_junk(folder, photos) if queries == "boxes" else frozenset[str]()
    fit = fit_on if fit_on is None or isinstance(fit_on, tuple) else read_photos(fit_on)
    return trials_of(photos, boxes, junk, fit)


def read_photos(folder: Path) -> tuple[Photo, ...]:
    """The photos of ``photos.csv``, sorted by path.

    Raises:
        RequestError: if the file or a column is missing, or a path is listed twice.
    """
    columns = ("path", "scene", "capture", "width", "height")
    rows = read_rows(folder / "photos.csv", columns, _PHOTOS_REMEDY)
    photos = sorted((_photo(row, folder) for row in rows), key=lambda photo: photo.path)
    for one, other in pairwise(photos):
        if one.path == other.path:
            raise RequestError(f"photos.csv lists {one.path} twice: remove one of the lines.")
    return tuple(photos)


def _photo(row: Mapping[str, str], folder: Path) -> Photo:
    width, height = numbers(row, ("width", "height"), "photos.csv")
    size = Size(int(width), int(height))
    return Photo(row["path"], size, folder / row["path"], row["scene"], row["capture"])


def _read_boxes(folder: Path, photos: tuple[Photo, ...]) -> Boxes:
    """The boxes of ``queries.csv``; a photo may have several."""
    rows = read_rows(folder / "queries.csv", ("path", *_CORNERS), _PHOTOS_REMEDY)
    known = {photo.path for photo in photos if photo.scene}
    for row in rows:
        if row["path"] not in known:
            raise RequestError(
                f"queries.csv lists {row['path']}, which is not a photo of a scene in photos.csv: "
                "correct the path."
            )
    return _boxes(rows, "queries.csv")


def _read_junk(folder: Path, photos: tuple[Photo, ...]) -> frozenset[str]:
    rows = read_rows(folder / "junk.csv", ("path",), _PHOTOS_REMEDY)
    junk = frozenset(row["path"] for row in rows)
    unknown = sorted(junk.difference(photo.path for photo in photos))
    if unknown:
        raise RequestError(
            f"junk.csv lists {unknown[0]}, which is not in photos.csv: correct the path."
        )
    return junk


def _boxes(rows: Sequence[Mapping[str, str]], file: str) -> Boxes:
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in rows:
        corners = numbers(row, _CORNERS, file)
        boxes[row["path"]].append(box_of(corners, f"{file}, {row['path']}"))
    return boxes


@dataclass(frozen=True)
class _Instances:
    """The images of a folder with their instances as scenes, sorted by path."""

    photos: tuple[Photo, ...]
    boxes: Boxes
    junk: frozenset[str]


def read_folder(request: Request) -> tuple[Trial, ...]:
    """The trials of a folder of instances: one per half, or one if a folder to fit on is named.

    Raises:
        RequestError: for a file that is missing, damaged or wrong, or no query with a positive.
    """
    root, boxes = request.root, request.asks_boxes("full")
    listed = root if root.is_file() else root / _INSTANCES
    found = _from_csv(listed, request) if listed.is_file() else _from_subfolders(request)
    if boxes and not found.boxes:
        raise RequestError(
            f"No image of {root} has a box: add the columns x0, y0, x1, y1 to {_INSTANCES}, "
            "or search with full images."
        )
    # Junk is what a box does not find; a full image shows more than the instance.
    junk = found.junk if boxes else frozenset[str]()
    return trials_of(found.photos, found.boxes if boxes else None, junk, request.fit)


def folder_photos(root: Path, facts: PhotoFacts) -> FoundPhotos:
    """All images in a folder and below, or of a CSV.

    Raises:
        RequestError: if the folder does not exist or has no images.
    """
    if root.is_file():
        return photos_of(_files(read_rows(root, ("path",), _FOLDER_REMEDY), root), facts)
    files = find_files(root)
    if not files:
        raise RequestError(f"There are no images in {root}: name another folder.")
    return photos_of(paths_within(files, root), facts)


def _from_subfolders(request: Request) -> _Instances:
    photos = folder_photos(request.root, request.facts).all_readable(_REPAIR)
    return _Instances(tuple(replace(p, scene=_instance(p.path)) for p in photos), {}, frozenset())


def _instance(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash and first != _DISTRACTORS else ""


def _from_csv(path: Path, request: Request) -> _Instances:
    rows = read_rows(path, ("path", "instance"), _FOLDER_REMEDY)
    found = photos_of(_files(rows, path), request.facts).all_readable(_REPAIR)
    instances = {row["path"]: row["instance"] for row in rows}
    photos = tuple(replace(photo, scene=instances[photo.path]) for photo in found)
    junk = frozenset(row["path"] for row in rows if _is_junk(row, path))
    # A file may lack some of the columns; a box that lacks a corner is an error.
    asked = [
        {"path": row["path"]} | {corner: row.get(corner) or "" for corner in _CORNERS}
        for row in rows
        if any(row.get(corner) for corner in _CORNERS)
    ]
    return _Instances(photos, _boxes(asked, path.name), junk)


def _is_junk(row: Mapping[str, str], path: Path) -> bool:
    value = (row.get("junk") or "").strip()
    if value not in _JUNK:
        raise RequestError(
            f"{path.name} has junk {value!r} for {row['path']}: write 1 for junk, 0 or nothing "
            "otherwise."
        )
    return _JUNK[value]


def _files(rows: Sequence[Mapping[str, str]], path: Path) -> dict[Path, str]:
    """The path of each row by its file."""
    files = {(path.parent / row["path"]).absolute(): row["path"] for row in rows}
    if len(files) < len(rows):
        raise RequestError(f"{path} lists an image twice: remove one of the lines.")
    return files


def trials_of(
    photos: tuple[Photo, ...],
    boxes: Boxes | None,
    junk: Collection[str],
    fit: tuple[Photo, ...] | None,
) -> tuple[Trial, ...]:
    """The trials of photos whose scenes are known.

    Args:
        photos: sorted by path.
        boxes: of the queries; None for full images.
        junk: paths of photos that are neither right nor wrong.
        fit: what the whitening is fitted on; None for half against half.

    Raises:
        RequestError: if there is no query with a positive.
    """
    if fit is not None:
        return (Trial("all", fit, photos, _queries(photos, boxes, junk)),)
    halves = _halves(photos)
    return tuple(
        Trial(f"half {i}", halves[1 - i], half, _queries(half, boxes, junk))
        for i, half in enumerate(halves)
    )


def _halves(photos: tuple[Photo, ...]) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Scenes of even position and the first half of the distractors; then the rest."""
    scenes = sorted({photo.scene for photo in photos if photo.scene})
    distractors = [photo.path for photo in photos if not photo.scene]
    even, early = set(scenes[::2]), set(distractors[: len(distractors) // 2])
    first = tuple(p for p in photos if p.scene in even or p.path in early)
    return first, tuple(p for p in photos if p.scene not in even and p.path not in early)


def _queries(
    gallery: tuple[Photo, ...], boxes: Boxes | None, junk: Collection[str]
) -> tuple[PhotoQuery, ...]:
    """Every query of a gallery that has a positive in it."""
    scenes: dict[str, set[str]] = defaultdict(set)
    for photo in gallery:
        scenes[photo.scene].add(photo.path)
    queries = []
    for photo in gallery:
        scene = scenes[photo.scene]
        positives = frozenset(scene - {photo.path}.union(junk))
        if not photo.scene or not positives:
            continue
        judgement = Judgement(positives, frozenset(scene.intersection(junk)))
        measures = ("all", COLLECTIONS) if photo.capture == _COLLECTION else ("all",)
        queries += [
            PhotoQuery(photo, box, dict.fromkeys(measures, judgement), photo.path)
            for box in ([None] if boxes is None else boxes.get(photo.path, []))
        ]
    if not queries:
        raise RequestError(
            "No photo of this gallery is a query with a second photo of its scene (or instance): "
            "fill in the scenes (and, for boxes, the queries with their boxes). Without --fit-on "
            "each half of the scenes needs one."
        )
    return tuple(queries)
