"""The images of `camsearch demo`: seven views of each of ten objects, and distractors.

Views differ in position, size, angle, light, sharpness, background and occlusion. The same seed
makes the same bytes.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from camsearch.demo_scenes import (
    Light,
    Pose,
    clutter,
    cover,
    cut_out,
    lay_on,
    photo_part,
    relight,
)
from camsearch.demo_sources import SCENES, credits_note
from descriptors.arrays import Box, Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from camsearch.demo_sources import SceneSource

__all__ = [
    "CREDITS",
    "DISTRACTORS",
    "MANIFEST",
    "QUERIES",
    "VIEWS",
    "DemoView",
    "make_demo_images",
]

MANIFEST, CREDITS = "manifest.csv", "credits.txt"
DISTRACTORS = 40
# Objects whose "photo" view is a query of the demo, with a box around the object; best first.
QUERIES = ("shuttle", "pagoda", "dahlia", "cup")

_LONG, _SHORT = 640, 480


@dataclass(frozen=True)
class DemoView:
    """An image of the collection.

    Attributes:
        id: such as ``cup-small``.
        path: the JPEG file.
        scene: the object; "" for a distractor.
        view: one of `VIEWS`.
        box: around the object, in pixels.
        query_box: the box to search with, if the view is a query.
    """

    id: str
    path: Path
    scene: str
    view: str
    box: Box | None = None
    query_box: Box | None = None


@dataclass(frozen=True)
class _Recipe:
    """How to make a view; without a pose it is a crop of the photo."""

    light: Light
    pose: Pose | None = None
    pieces: int = 8
    covered: float = 0
    closer: float = 1


_RECIPES: dict[str, _Recipe] = {
    "photo": _Recipe(Light()),
    "closer": _Recipe(Light(1.12, 1.15, 0.8, (1.04, 1, 0.9), quality=70), closer=1.35),
    "tilted": _Recipe(Light(1.05, slope=0.15), Pose(0.24, 12, 0.16)),
    "small": _Recipe(Light(0.95, 1.1, noise=3), Pose(0.07, -6), 12),
    "dusk": _Recipe(Light(0.55, 0.9, 0.8, (0.9, 0.95, 1.2), 0.25, noise=6), Pose(0.15, -16)),
    "blurred": _Recipe(Light(1.1, 0.85, 0.9, blur=1.8, quality=35), Pose(0.15, 8, 0.1)),
    "hidden": _Recipe(Light(1.0, 1.1, 1.2, (1.1, 1, 0.85)), Pose(0.19, 22, 0.08), 9, 0.3),
}
VIEWS = tuple(_RECIPES)


def make_demo_images(
    folder: Path, *, seed: int = 7, views: Sequence[str] = VIEWS, distractors: int = DISTRACTORS
) -> list[DemoView]:
    """Write the collection, its ``manifest.csv`` and ``credits.txt`` into a folder.

    Args:
        folder: created if missing; existing files are replaced.
        seed: of layout and light.
        views: some of `VIEWS`.
        distractors: number of images without an object.

    Returns:
        All images by object, the distractors last.

    Raises:
        ArtifactError: if an installed package lacks a photo.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = [
        _make_view(folder, source, view, np.random.default_rng((seed, 1, i, VIEWS.index(view))))
        for i, source in enumerate(SCENES)
        for view in views
    ]
    made += [
        _make_distractor(folder, i, np.random.default_rng((seed, 2, i))) for i in range(distractors)
    ]
    _write_manifest(folder / MANIFEST, made)
    (folder / CREDITS).write_text(credits_note() + "\n", encoding="utf-8")
    return made


def _make_view(
    folder: Path, source: SceneSource, view: str, random: np.random.Generator
) -> DemoView:
    recipe = _RECIPES[view]
    if recipe.pose is None:
        image, box = _from_photo(source, recipe.closer)
    else:
        background = clutter(_frame(random), recipe.pieces, random)
        image, box = lay_on(background, cut_out(source), recipe.pose, random)
    if recipe.covered:
        image = cover(image, box, recipe.covered, random)
    path = _save(folder / f"{source.name}-{view}.jpg", image, recipe.light, random)
    query_box = box if view == VIEWS[0] and source.name in QUERIES else None
    return DemoView(path.stem, path, source.name, view, box, query_box)


def _make_distractor(folder: Path, number: int, random: np.random.Generator) -> DemoView:
    image = clutter(_frame(random), int(random.integers(3, 14)), random)
    light = Light(random.uniform(0.7, 1.15), random.uniform(0.85, 1.15), noise=2)
    path = _save(folder / f"other-{number:02}.jpg", image, light, random)
    return DemoView(path.stem, path, "", "clutter")


def _frame(random: np.random.Generator) -> tuple[int, int]:
    """75 % are landscape."""
    return (_LONG, _SHORT) if random.random() < 0.75 else (_SHORT, _LONG)  # noqa: PLR2004


def _from_photo(source: SceneSource, closer: float) -> tuple[Image.Image, Box]:
    """The photo, or a crop in which the object is larger, and the object's box."""
    corners = np.array(source.outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = 1 / closer
    left, top = ((low + high - extent) / 2).clip(0, 1 - extent).tolist()
    image = photo_part(source.photo, (left, top, left + extent, top + extent), _LONG)
    in_part = (np.array([low, high]) - (left, top)) / extent * image.size
    return image, Box(*in_part.round().ravel().tolist()).inside(Size(*image.size))


def _save(path: Path, image: Image.Image, light: Light, random: np.random.Generator) -> Path:
    relight(image, light, random).save(path, "JPEG", quality=light.quality)
    return path


def _write_manifest(path: Path, views: Sequence[DemoView]) -> None:
    """Write one row per image, with relative paths."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "scene", "view"])
        rows.writerows([v.id, v.path.name, v.scene, v.view] for v in views)
