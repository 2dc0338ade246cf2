"""A folder of made images in the form of ``photos/README.md``: scenes as warped views."""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from tests.support.images import shapes

SCENES = ("bridge", "church", "fountain", "gate")
VIEWS, DISTRACTORS = 4, 8
SIDE = 96

_HEADS = {
    "photos.csv": ("path", "scene", "capture", "width", "height"),
    "queries.csv": ("path", "scene", "x0", "y0", "x1", "y1"),
    "boxes.csv": ("path", "thing", "x0", "y0", "x1", "y1"),
    "junk.csv": ("scene", "path", "reason"),
}


def make_miniature(folder, seed=0):
    """Four scenes of four views, eight distractors, three boxes, one junk image.

    The views of a scene are one image cut and brightened a little differently. The scenes
    church and gate are photo collections.
    """
    images: list[tuple[object, ...]] = []
    for number, scene in enumerate(SCENES):
        whole = shapes(SIDE + 16, SIDE + 16, seed=seed * 100 + number, count=9)
        capture = "photo_collection" if scene in {"church", "gate"} else "one_photographer_sequence"
        for view in range(VIEWS):
            path = f"instances/{scene}/{view:03d}.jpg"
            height = SIDE if view % 2 else SIDE - 16
            corner = (2 * view, 3 * view)
            image = whole.crop((*corner, corner[0] + SIDE, corner[1] + height))
            _save(folder / path, image, 1 + 0.05 * view)
            images.append((path, scene, capture, SIDE, height))
    for number in range(DISTRACTORS):
        path = f"distractors/made/{number:04d}.jpg"
        _save(folder / path, shapes(SIDE, SIDE, seed=seed * 100 + 50 + number), 1)
        images.append((path, "", "", SIDE, SIDE))
    write_rows(folder / "photos.csv", images)
    boxes = [(f"instances/{scene}/001.jpg", scene, 8, 8, 80, 72) for scene in SCENES[:3]]
    write_rows(folder / "queries.csv", boxes)
    write_rows(folder / "junk.csv", [("bridge", "instances/bridge/003.jpg", "hardly to be seen")])
    return folder


def write_rows(path, rows):
    """A CSV file under the heading its name has in the protocol."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADS[path.name])
        writer.writerows(rows)


def _save(path, image, brightness):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(np.asarray(image) * brightness, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def tell_nobody(what, done, of):
    """No progress is looked at."""
