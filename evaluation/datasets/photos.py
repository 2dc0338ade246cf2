"""Your own images as trials: a folder with ``photos.csv``.

``photos.csv`` has the columns path, scene ("" for a distractor; several things that an image shows
are joined by ``;``), capture, width and height, and perhaps kind. For queries with a box there are
also ``queries.csv`` (path, x0, y0, x1, y1; pixels, half-open) and ``junk.csv`` (path), both with
the column scene where an image shows several things, and perhaps ``boxes.csv`` (path, thing, x0,
y0, x1, y1), the places of every thing in every image.

Every image of a scene is a query, and is removed from its own ranking; with boxes, each box of
``queries.csv`` is one, and all other images of its scene are right answers.

Source:
    photos/README.md: halves by scene, each tested with the whitening of the other.
    small/README.md: things in clutter, with their places; never fitted on itself.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from descriptors.arrays import Size
from descriptors.errors import RequestError
from evaluation.datasets.files import CORNERS, box_of, numbers, read_rows
from evaluation.trials import DatasetImage, DatasetQuery, Judgement, Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box

    # Boxes by thing, and by the path of an image that shows it.
    Places = Mapping[str, Mapping[str, Sequence[Box]]]

__all__ = ["COLLECTIONS", "Queries", "Truth", "read_photos", "read_trials", "trials_of"]

Queries = Literal["full", "boxes"]

# The measure of queries in scenes of independent images by many people: the hard ones.
COLLECTIONS = "collections"

_COLLECTION = "photo_collection"
_PHOTOS_REMEDY = "name a folder with photos.csv (and queries.csv and junk.csv, for boxes)"


@dataclass(frozen=True)
class Truth:
    """What the lists of a folder say about queries with boxes.

    Attributes:
        boxes: of the queries.
        junk: paths that are neither right nor wrong, by thing.
        places: where every image shows a thing; None if only the boxes of queries are known.
    """

    boxes: Places
    junk: Mapping[str, Collection[str]]
    places: Places | None = None

    def places_of(self, thing: str) -> Mapping[str, Sequence[Box]]:
        """Where images show a thing, by path, as far as it is known."""
        return (self.boxes if self.places is None else self.places).get(thing, {})


def read_trials(
    folder: Path, queries: Queries, fit_on: Path | tuple[DatasetImage, ...] | None = None
) -> tuple[Trial, ...]:
    """The trials of a folder with ``photos.csv``.

    Args:
        folder: also has ``queries.csv`` and ``junk.csv``, and perhaps ``boxes.csv``, for boxes.
        queries: every image of a scene in full, or the boxes of ``queries.csv``.
        fit_on: another such folder, or any images, to fit the whitening on (none: the packaged
            one); the gallery is then all of `folder`. Without it, each half is tested with the
            whitening of the other.

    Raises:
        RequestError: for a file, column or image that is missing, or no query with a positive.
    """
    images = read_photos(folder)
    truth = _read_truth(folder, images) if queries == "boxes" else None
    fit = fit_on if fit_on is None or isinstance(fit_on, tuple) else read_photos(fit_on)
    return trials_of(images, truth, fit)


def read_photos(folder: Path) -> tuple[DatasetImage, ...]:
    """The images of ``photos.csv``, sorted by path.

    Raises:
        RequestError: if the file or a column is missing, or a path is listed twice.
    """
    columns = ("path", "scene", "capture", "width", "height")
    rows = read_rows(folder / "photos.csv", columns, _PHOTOS_REMEDY)
    images = sorted((_image(row, folder) for row in rows), key=lambda image: image.path)
    for one, other in pairwise(images):
        if one.path == other.path:
            raise RequestError(f"photos.csv lists {one.path} twice: remove one of the lines.")
    return tuple(images)


def _image(row: Mapping[str, str], folder: Path) -> DatasetImage:
    width, height = numbers(row, ("width", "height"), "photos.csv")
    size = Size(int(width), int(height))
    kind = row.get("kind") or ""
    return DatasetImage(row["path"], size, folder / row["path"], row["scene"], row["capture"], kind)


def _read_truth(folder: Path, images: tuple[DatasetImage, ...]) -> Truth:
    things = {image.path: image.things for image in images}
    boxes = _read_boxes(folder / "queries.csv", "scene", things)
    listed = folder / "boxes.csv"
    places = _read_boxes(listed, "thing", things) if listed.is_file() else None
    return Truth(boxes, _read_junk(folder, things), places)


def _read_boxes(path: Path, column: str, things: Mapping[str, tuple[str, ...]]) -> Places:
    """The boxes of a file; an image may have several of one thing."""
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for row in read_rows(path, ("path", *CORNERS), _PHOTOS_REMEDY):
        shown = things.get(row["path"], ())
        if not shown:
            raise RequestError(
                f"{path.name} lists {row['path']}, which is not an image of a scene in photos.csv: "
                "correct the path."
            )
        thing = row.get(column) or ";".join(shown)
        if thing not in shown:
            raise RequestError(
                f"{path.name} has a box of {thing!r} in {row['path']}, which shows "
                f"{', '.join(shown)} by photos.csv: correct the column {column}, or photos.csv."
            )
        corners = numbers(row, CORNERS, path.name)
        boxes[thing][row["path"]].append(box_of(corners, f"{path.name}, {row['path']}"))
    return boxes


def _read_junk(folder: Path, things: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Paths by thing; a line without a scene is about all that the image shows."""
    junk: dict[str, set[str]] = defaultdict(set)
    every = {thing for shown in things.values() for thing in shown}
    for row in read_rows(folder / "junk.csv", ("path",), _PHOTOS_REMEDY):
        if row["path"] not in things:
            raise RequestError(
                f"junk.csv lists {row['path']}, which is not in photos.csv: correct the path."
            )
        scene = row.get("scene")
        if scene and scene not in every:
            raise RequestError(
                f"junk.csv lists {row['path']} for {scene!r}, which no image of photos.csv shows: "
                "correct the scene."
            )
        for thing in (scene,) if scene else things[row["path"]]:
            junk[thing].add(row["path"])
    return junk


def trials_of(
    images: tuple[DatasetImage, ...], truth: Truth | None, fit: tuple[DatasetImage, ...] | None
) -> tuple[Trial, ...]:
    """The trials of images whose scenes are known.

    Args:
        images: sorted by path.
        truth: of queries with boxes; None for full images.
        fit: what the whitening is fitted on, nothing for the packaged one; None for half against
            half.

    Raises:
        RequestError: if there is no query with a positive; if an image shows several things, for
            full images and for halves; for halves of images with known places.
    """
    several = next((image.path for image in images if len(image.things) > 1), None)
    if several is not None and truth is None:
        raise RequestError(
            f"{several} shows several things, so that a full image is no query for one of them: "
            "add --queries boxes."
        )
    if fit is not None:
        return (Trial("all", fit, images, _queries(images, truth)),)
    if several is not None or (truth is not None and truth.places is not None):
        raise RequestError(
            "A folder with boxes.csv, or with images of several things, has no halves: add "
            "--fit-on packaged, or --fit-on DIR with other images."
        )
    halves = _halves(images)
    return tuple(
        Trial(f"half {i}", halves[1 - i], half, _queries(half, truth))
        for i, half in enumerate(halves)
    )


def _halves(
    images: tuple[DatasetImage, ...],
) -> tuple[tuple[DatasetImage, ...], tuple[DatasetImage, ...]]:
    """Scenes of even position and the first half of the distractors; then the rest."""
    scenes = sorted({image.scene for image in images if image.scene})
    distractors = [image.path for image in images if not image.scene]
    even, early = set(scenes[::2]), set(distractors[: len(distractors) // 2])
    first = tuple(p for p in images if p.scene in even or p.path in early)
    return first, tuple(p for p in images if p.scene not in even and p.path not in early)


def _queries(gallery: tuple[DatasetImage, ...], truth: Truth | None) -> tuple[DatasetQuery, ...]:
    """Every query of a gallery that has a positive in it."""
    shown: dict[str, set[str]] = defaultdict(set)
    for image in gallery:
        for thing in image.things:
            shown[thing].add(image.path)
    queries = tuple(
        query
        for image in gallery
        for thing in image.things
        for query in _queries_for(thing, image, shown[thing], truth)
    )
    if not queries:
        raise RequestError(
            "No image of this gallery is a query with a second image of its scene (or instance): "
            "fill in the scenes (and, for boxes, the queries with their boxes). Without --fit-on "
            "each half of the scenes needs one."
        )
    return queries


def _queries_for(
    thing: str, image: DatasetImage, shown: Collection[str], truth: Truth | None
) -> Iterator[DatasetQuery]:
    """An image's queries for a thing, which the images `shown` show."""
    junk = frozenset(() if truth is None else truth.junk.get(thing, ()))
    positives = frozenset(shown) - junk - {image.path}
    if not positives:
        return
    judgements = dict.fromkeys(_measures(image, truth), Judgement(positives, junk))
    if truth is None:
        yield DatasetQuery(image, None, judgements, image.path)
        return
    places = {path: tuple(b) for path, b in truth.places_of(thing).items() if path in positives}
    for box in truth.boxes.get(thing, {}).get(image.path, ()):
        yield DatasetQuery(image, box, judgements, image.path, places)


def _measures(image: DatasetImage, truth: Truth | None) -> tuple[str, ...]:
    """All queries; and those of a kind, where every place is known, or else in collections."""
    if truth is not None and truth.places is not None:
        return ("all", image.kind) if image.kind else ("all",)
    return ("all", COLLECTIONS) if image.capture == _COLLECTION else ("all",)
