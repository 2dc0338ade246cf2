"""A folder of one's own: a subfolder an instance, or a CSV that says which image shows what.

Without a CSV every image in a subfolder shows the instance that the subfolder is named for;
images beside the subfolders, and in one named ``distractors``, show none of them.
``instances.csv`` in the folder, or any CSV named instead of a folder, has the columns path
(within its own folder) and instance ("" for a distractor), and may have x0, y0, x1, y1 (the
box of a query, in pixels; "" where the image is none) and junk (1 for an image in which the
instance is hardly to be seen, so that it is neither right nor wrong).

Every image of an instance is a query, itself taken out of its ranking; with boxes those are
queries that have one. Without other images to fit the whitening on, half of the instances is
tested with the whitening of the other, as `evaluation.datasets.photos` does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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
from evaluation.datasets.photos import trials_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from evaluation.datasets.facts import PhotoFacts
    from evaluation.datasets.files import Request
    from evaluation.trials import Photo, Trial

__all__ = ["folder_photos", "read_folder"]

_CSV = "instances.csv"
_DISTRACTORS = "distractors"
_CORNERS = ("x0", "y0", "x1", "y1")
_JUNK = {"1": True, "0": False, "": False}
_REPAIR = "take them out of the folder (and of the CSV), or put them right"
_REMEDY = "name a folder with a subfolder an instance, or a CSV with the columns path and instance"


@dataclass(frozen=True)
class _Instances:
    """What a folder says of its images.

    Attributes:
        photos: with their instances as scenes, in order of their paths.
        boxes: of queries, by path; empty where there are none.
        junk: paths.
    """

    photos: tuple[Photo, ...]
    boxes: Mapping[str, list[Box]]
    junk: frozenset[str]


def folder_photos(root: Path, facts: PhotoFacts) -> FoundPhotos:
    """All images of a folder and below, or of a CSV, whatever they show.

    Raises:
        RequestError: for a folder that is not there, or has none.
    """
    if root.is_file():
        return photos_of(_files(read_rows(root, ("path",), _REMEDY), root), facts)
    files = find_files(root)
    if not files:
        raise RequestError(f"There are no images in {root}: name another folder.")
    return photos_of(paths_within(files, root), facts)


def read_folder(request: Request) -> tuple[Trial, ...]:
    """One trial if other images to fit on were named, else one a half.

    Raises:
        RequestError: for a file that is missing, damaged or wrong, or no query with a positive.
    """
    root, boxes = request.root, request.asks_boxes("full")
    listed = root if root.is_file() else root / _CSV
    found = _from_csv(listed, request) if listed.is_file() else _from_subfolders(request)
    if boxes and not found.boxes:
        raise RequestError(
            f"No image of {root} has a box: add the columns x0, y0, x1, y1 to {_CSV}, "
            "or ask with full images."
        )
    # Junk is what a box does not find; a full image shows more than the instance.
    junk = found.junk if boxes else frozenset[str]()
    return trials_of(found.photos, found.boxes if boxes else None, junk, request.fit)


def _from_subfolders(request: Request) -> _Instances:
    photos = folder_photos(request.root, request.facts).all_readable(_REPAIR)
    return _Instances(tuple(replace(p, scene=_instance(p.path)) for p in photos), {}, frozenset())


def _instance(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash and first != _DISTRACTORS else ""


def _from_csv(path: Path, request: Request) -> _Instances:
    rows = read_rows(path, ("path", "instance"), _REMEDY)
    found = photos_of(_files(rows, path), request.facts).all_readable(_REPAIR)
    instances = {row["path"]: row["instance"] for row in rows}
    photos = tuple(replace(photo, scene=instances[photo.path]) for photo in found)
    junk = frozenset(row["path"] for row in rows if _is_junk(row, path))
    return _Instances(photos, _boxes(rows, path), junk)


def _is_junk(row: Mapping[str, str], path: Path) -> bool:
    said = (row.get("junk") or "").strip()
    if said not in _JUNK:
        raise RequestError(
            f"{path.name} says junk {said!r} of {row['path']}: write 1 for junk, else 0 or nothing."
        )
    return _JUNK[said]


def _files(rows: Sequence[Mapping[str, str]], path: Path) -> dict[Path, str]:
    """The path of each row by its file."""
    files = {(path.parent / row["path"]).absolute(): row["path"] for row in rows}
    if len(files) < len(rows):
        raise RequestError(f"{path} names an image twice: take one of the lines out.")
    return files


def _boxes(rows: Sequence[Mapping[str, str]], path: Path) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in rows:
        if any(row.get(corner) for corner in _CORNERS):
            given = {corner: row.get(corner) or "" for corner in _CORNERS}
            found = numbers({**row, **given}, _CORNERS, path.name)
            boxes[row["path"]].append(box_of(found, f"{path.name}, {row['path']}"))
    return boxes
