"""Miniature datasets in the file formats of the real ones, drawn image by image.

Landmarks are drawings; their views are cut and brightened a little differently, so that a
network that sees anything finds them. Every maker returns the root folder.
"""

from __future__ import annotations

import csv
import pickle
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tests.support.images import shapes as drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = [
    "BOX",
    "LANDMARKS",
    "VIEWS",
    "make_csv_folder",
    "make_distractors",
    "make_folder",
    "make_holidays",
    "make_oxford",
    "make_paris",
    "make_revisited",
    "view",
]

LANDMARKS = ("chapel", "gate", "tower")
# A landmark's images: good, good, ok, junk; then as many others.
VIEWS, OTHERS = 4, 6
SIDE = 96
BOX = (8.5, 6.0, 88.0, 72.25)


@cache
def view(landmark: int, number: int, seed: int = 0) -> Image.Image:
    """A view of a landmark: the same drawing, cut a little differently and brighter."""
    whole = shapes(SIDE + 16, SIDE + 16, seed=1000 * seed + landmark, count=9)
    height = SIDE if number % 2 else SIDE - 16
    left, top = 2 * number, 3 * number
    image = whole.crop((left, top, left + SIDE, top + height))
    return Image.fromarray(
        np.clip(np.asarray(image) * (1 + 0.05 * number), 0, 255).astype(np.uint8)
    )


@cache
def shapes(width: int, height: int, seed: int, count: int = 5) -> Image.Image:
    """As `tests.support.images` draws them, each once."""
    return drawn(width, height, seed=seed, count=count)


def make_oxford(root: Path, seed: int = 0) -> Path:
    """Three landmarks of four views and six other images; two queries a landmark.

    The queries are the first two views, with a box; both are good, the third is ok, the
    fourth junk.
    """
    images, truth = root / "oxbuild_images", root / "gt_files_170407"
    _draw_landmarks(lambda name: images / f"{name}.jpg", "{}_{:06d}", seed)
    _write_truth(truth, "{}_{:06d}", "oxc1_")
    return root


def make_paris(root: Path, seed: int = 1, *, listed: bool = True) -> Path:
    """The same as Paris has it: a folder a landmark, and two files that are no images.

    Args:
        root: to make it in.
        seed: of the drawings.
        listed: whether the authors' list of the damaged files lies there.
    """
    images = root / "paris"
    _draw_landmarks(
        lambda name: images / name.split("_")[1] / f"{name}.jpg", "paris_{}_{:06d}", seed
    )
    _write_truth(root / "paris_120310", "paris_{}_{:06d}", "")
    damaged = ["paris_gate_000090", "paris_tower_000091"]
    for name in damaged:
        (images / name.split("_")[1] / f"{name}.jpg").write_text("<html>302 Found</html>")
    if listed:
        lines = [f"{name.split('_')[1]}/{name}.jpg\n" for name in damaged]
        (root / "corrupt.txt").write_text("".join(lines))
    return root


def make_revisited(root: Path, name: str = "roxford5k", seed: int = 2, protocol: int = 4) -> Path:
    """The annotation of ROxford or RParis as a pickle, with its images.

    The first view of each landmark is its query, which is not in the gallery; of the others
    the first is easy, the second hard, the third junk. The last landmark has no hard one.
    """
    pattern = "{}_{:06d}" if name == "roxford5k" else "paris_{}_{:06d}"
    names = _draw_landmarks(lambda n: root / "jpg" / f"{n}.jpg", pattern, seed)
    queries = [pattern.format(landmark, 0) for landmark in LANDMARKS]
    gallery = [n for n in names if n not in queries]
    truth = []
    for landmark in LANDMARKS:
        easy, hard, junk = (gallery.index(pattern.format(landmark, n)) for n in (1, 2, 3))
        about: dict[str, Any] = {"bbx": list(BOX), "easy": np.array([easy]), "junk": [junk]}
        about["hard"] = np.array([], dtype=np.int64) if landmark == LANDMARKS[-1] else [hard]
        truth.append(about)
    annotation = {"imlist": gallery, "qimlist": queries, "gnd": truth}
    (root / f"gnd_{name}.pkl").write_bytes(pickle.dumps(annotation, protocol=protocol))
    return root


def make_holidays(root: Path, seed: int = 3, *, perfect: bool = False) -> Path:
    """Three scenes of a query and two or three right answers, and one image of its own."""
    lines = []
    for scene in range(3):
        names = [f"{1000 + scene}{number:02d}.jpg" for number in range(3 + scene % 2)]
        for number, name in enumerate(names):
            _save(root / "jpg" / name, view(scene, number, seed))
        lines.append(" ".join([names[0], *(f"{i} {n}" for i, n in enumerate(names))]))
    _save(root / "jpg" / "100300.jpg", shapes(SIDE, SIDE, seed=77))
    if perfect:
        (root / "perfect_holidays_result.dat").write_text("\n".join(lines) + "\n")
    return root


def make_folder(root: Path, seed: int = 4) -> Path:
    """A subfolder a landmark, one of distractors, and one distractor beside them."""
    for number, landmark in enumerate(("arch", *LANDMARKS)):
        for shot in range(VIEWS):
            _save(root / landmark / f"{shot}.jpg", view(number, shot, seed))
    make_distractors(root / "distractors", 7)
    _save(root / "loose.jpg", shapes(SIDE, SIDE, seed=78))
    return root


def make_csv_folder(root: Path, seed: int = 4) -> Path:
    """The same images in one folder, told apart by ``instances.csv``; the fourth is junk."""
    rows: list[tuple[object, ...]] = []
    for number, landmark in enumerate(("arch", *LANDMARKS)):
        for shot in range(VIEWS):
            path = f"images/{number}{shot}.jpg"
            _save(root / path, view(number, shot, seed))
            box = BOX if shot == 0 else ("",) * 4
            rows.append((path, landmark, *box, int(shot == 3)))
    for number in range(8):
        path = f"images/other{number}.jpg"
        _save(root / path, shapes(SIDE, SIDE, seed=700 + number))
        rows.append((path, "", "", "", "", "", 0))
    write_csv(root / "instances.csv", ("path", "instance", "x0", "y0", "x1", "y1", "junk"), rows)
    return root


def make_distractors(folder: Path, count: int = 12, seed: int = 5) -> Path:
    """Images of other things, in two folders."""
    for number in range(count):
        path = folder / str(number % 2) / f"{number:06d}.jpg"
        _save(path, shapes(SIDE, SIDE - 16 * (number % 2), seed=1000 * seed + 500 + number))
    return folder


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def _draw_landmarks(place: Callable[[str], Path], pattern: str, seed: int) -> list[str]:
    """Views and others; their names, in order."""
    names = []
    for number, landmark in enumerate(LANDMARKS):
        for shot in range(VIEWS):
            name = pattern.format(landmark, shot)
            _save(place(name), view(number, shot, seed))
            names.append(name)
    for number in range(OTHERS):
        name = pattern.format(LANDMARKS[number % 3], 50 + number)
        _save(place(name), shapes(SIDE, SIDE, seed=1000 * seed + 100 + number))
        names.append(name)
    return sorted(names)


def _write_truth(folder: Path, pattern: str, prefix: str) -> None:
    """Four files a query, two queries a landmark, as Oxford and Paris have them."""
    folder.mkdir(parents=True)
    corners = " ".join(str(corner) for corner in BOX)
    for landmark in LANDMARKS:
        good = [pattern.format(landmark, shot) for shot in (0, 1)]
        for number, name in enumerate(good, start=1):
            stem = f"{landmark}_{number}"
            (folder / f"{stem}_query.txt").write_text(f"{prefix}{name} {corners}\n")
            (folder / f"{stem}_good.txt").write_text("".join(f"{n}\n" for n in good))
            (folder / f"{stem}_ok.txt").write_text(f"{pattern.format(landmark, 2)}\n")
            (folder / f"{stem}_junk.txt").write_text(f"{pattern.format(landmark, 3)}\n")


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95)
