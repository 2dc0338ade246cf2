"""A folder of instances as trials: your own images, one subfolder per object.

Each subfolder is an instance; images beside the subfolders, and those in ``distractors``, are
distractors. ``instances.csv`` in the folder, or any CSV named instead of a folder, overrides this:
it has the columns path (relative to the CSV) and instance ("" for a distractor), and optionally
x0, y0, x1, y1 (the box of a query; "" for none) and junk (1 for an image in which the instance is
hardly visible, which then counts as neither right nor wrong).

Every image of an instance is a query, and is removed from its own ranking; with boxes, only
images that have one are queries.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.files import (
    CORNERS,
    FoundImages,
    box_of,
    find_files,
    images_of,
    numbers,
    paths_within,
    read_rows,
)
from evaluation.datasets.photos import Truth, trials_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from evaluation.datasets.facts import ImageFacts
    from evaluation.datasets.files import DatasetRequest
    from evaluation.datasets.photos import Places
    from evaluation.trials import DatasetImage, Trial

__all__ = ["folder_images", "read_folder"]

_INSTANCES, _DISTRACTORS = "instances.csv", "distractors"
_JUNK = {"1": True, "0": False, "": False}

_FOLDER_REMEDY = (
    "name a folder with a subfolder per instance, or a CSV with the columns path and instance"
)
_REPAIR = "remove them from the folder (and the CSV), or repair them"


@dataclass(frozen=True)
class _Instances:
    """The images of a folder with their instances as scenes, sorted by path."""

    images: tuple[DatasetImage, ...]
    boxes: Places
    junk: Mapping[str, set[str]]


def read_folder(request: DatasetRequest) -> tuple[Trial, ...]:
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
    truth = Truth(found.boxes, found.junk) if boxes else None
    return trials_of(found.images, truth, request.fit)


def folder_images(root: Path, facts: ImageFacts) -> FoundImages:
    """All images in a folder and below, or of a CSV.

    Raises:
        RequestError: if the folder does not exist or has no images.
    """
    if root.is_file():
        return images_of(_files(read_rows(root, ("path",), _FOLDER_REMEDY), root), facts)
    files = find_files(root)
    if not files:
        raise RequestError(f"There are no images in {root}: name another folder.")
    return images_of(paths_within(files, root), facts)


def _from_subfolders(request: DatasetRequest) -> _Instances:
    images = folder_images(request.root, request.facts).all_readable(_REPAIR)
    return _Instances(tuple(replace(p, scene=_instance(p.path)) for p in images), {}, {})


def _instance(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash and first != _DISTRACTORS else ""


def _from_csv(path: Path, request: DatasetRequest) -> _Instances:
    rows = read_rows(path, ("path", "instance"), _FOLDER_REMEDY)
    found = images_of(_files(rows, path), request.facts).all_readable(_REPAIR)
    instances = {row["path"]: row["instance"] for row in rows}
    images = tuple(replace(image, scene=instances[image.path]) for image in found)
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    junk: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if _is_junk(row, path):
            junk[row["instance"]].add(row["path"])
        # A file may lack some of the columns; a box that lacks a corner is an error.
        asked = row | {corner: row.get(corner) or "" for corner in CORNERS}
        if any(asked[corner] for corner in CORNERS):
            corners = numbers(asked, CORNERS, path.name)
            box = box_of(corners, f"{path.name}, {row['path']}")
            boxes[row["instance"]][row["path"]].append(box)
    return _Instances(images, boxes, junk)


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
