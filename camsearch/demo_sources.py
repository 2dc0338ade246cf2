"""The photos of the demo, from scikit-image and scikit-learn.

Licences are as stated in the docstrings of ``skimage.data`` and the README of
``sklearn.datasets``; photos without one (motorcycle, moon, page, colour wheel) are not used. CC BY
requires that `credits_note` is shown with the images.

Files are opened by path, since ``skimage.data.NAME()`` downloads missing files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "CLUTTER",
    "SCENES",
    "Material",
    "PackagedPhoto",
    "SceneSource",
    "credits_note",
    "open_photo",
    "photo_path",
]

Fractions: TypeAlias = tuple[float, float, float, float]
Outline: TypeAlias = tuple[tuple[float, float], ...]

_WHOLE: Fractions = (0, 0, 1, 1)
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


@dataclass(frozen=True)
class PackagedPhoto:
    """A photo in an installed package.

    Attributes:
        file: file name.
        credit: the author.
    """

    file: str
    licence: str
    credit: str
    package: Literal["skimage", "sklearn"] = "skimage"


@dataclass(frozen=True)
class SceneSource:
    """An object of the demo.

    Attributes:
        outline: corners, as fractions of the photo's width and height.
        printed: shown as a rectangular print with a white border.
    """

    name: str
    photo: PackagedPhoto
    outline: Outline
    printed: bool = False


@dataclass(frozen=True)
class Material:
    """A part of a photo without an object, for backgrounds.

    Attributes:
        part: left, top, right, bottom as fractions.
        tinted: whether it gets a random colour.
    """

    photo: PackagedPhoto
    part: Fractions = _WHOLE
    tinted: bool = False


def _oval(x0: float, y0: float, x1: float, y1: float) -> Outline:
    across, down, turns = (x1 - x0) / 2, (y1 - y0) / 2, [math.tau * i / 40 for i in range(40)]
    return tuple((x0 + across * (1 + math.cos(t)), y0 + down * (1 + math.sin(t))) for t in turns)


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


_ASTRONAUT = PackagedPhoto("astronaut.png", "public domain", "NASA")
_CAMERA = PackagedPhoto("camera.png", "CC0", "Lav Varshney")
_CHELSEA = PackagedPhoto("chelsea.png", "CC0", "Stefan van der Walt")
_CHINA = PackagedPhoto("china.jpg", "CC BY 2.0", "danielbuechele", "sklearn")
_COFFEE = PackagedPhoto("coffee.png", "CC0", "Rachel Michetti")
_COINS = PackagedPhoto("coins.png", "no known copyright restrictions", "Brooklyn Museum")
_FLOWER = PackagedPhoto("flower.jpg", "CC BY 2.0", "vultilion", "sklearn")
_HORSE = PackagedPhoto("horse.png", "CC0", "Andreas Preuss")
_HUBBLE = PackagedPhoto("hubble_deep_field.jpg", "public domain", "NASA")
_RETINA = PackagedPhoto("retina.jpg", "CC0", "Mikael Häggström")
_ROCKET = PackagedPhoto("rocket.jpg", "public domain", "SpaceX")

# fmt: off
_CUP_OUTLINE: Outline = (
    (.295, .23), (.33, .11), (.40, .06), (.47, .045), (.56, .06), (.63, .11), (.675, .17),
    (.69, .165), (.705, .17), (.705, .21), (.695, .27), (.75, .35), (.785, .45), (.795, .55),
    (.78, .67), (.73, .78), (.66, .87), (.57, .94), (.48, .97), (.38, .955), (.28, .91),
    (.20, .82), (.145, .70), (.127, .57), (.133, .45), (.17, .33), (.22, .25), (.27, .21),
)
_PAGODA_OUTLINE: Outline = (
    (.315, .07), (.335, .08), (.335, .15), (.40, .22), (.50, .28), (.49, .30), (.465, .31),
    (.465, .38), (.515, .41), (.51, .43), (.50, .44), (.50, .53), (.51, .55), (.50, .57),
    (.55, .60), (.535, .62), (.52, .65), (.53, .70), (.55, .72), (.54, .75), (.58, .78),
    (.55, .84), (.49, .87), (.48, .91), (.33, .89), (.25, .80), (.12, .80), (.13, .70),
    (.12, .66), (.105, .63), (.13, .59), (.155, .54), (.155, .44), (.135, .43), (.14, .40),
    (.19, .38), (.185, .32), (.145, .30), (.16, .25), (.24, .20), (.30, .15), (.305, .08),
)
_SHUTTLE_OUTLINE: Outline = (
    (.775, .03), (.79, 0), (.83, 0), (.85, .05), (.855, .08), (.87, .075), (.885, .09),
    (.885, .33), (.89, .40), (.89, .46), (.87, .47), (.86, .51), (.92, .545), (.85, .56),
    (.77, .555), (.71, .54), (.73, .52), (.77, .50), (.76, .48), (.70, .475), (.69, .41),
    (.735, .33), (.74, .20), (.74, .12), (.75, .08), (.765, .09), (.775, .10),
)
_CAMERAMAN_OUTLINE: Outline = (
    (0, .50), (.02, .48), (.08, .38), (.12, .31), (.22, .25), (.30, .21), (.33, .16),
    (.40, .125), (.47, .15), (.52, .20), (.525, .25), (.53, .275), (.63, .27), (.635, .33),
    (.645, .37), (.60, .40), (.60, .48), (.59, .53), (.59, .58), (.66, .585), (.62, .62),
    (.605, .65), (.79, 1), (.45, 1), (.54, .68), (.54, .60), (.48, .61), (.40, .60), (.33, .70),
    (.28, .76), (.29, 1), (0, 1),
)
# fmt: on

SCENES: tuple[SceneSource, ...] = (
    SceneSource("shuttle", _ASTRONAUT, _SHUTTLE_OUTLINE),
    SceneSource("pagoda", _CHINA, _PAGODA_OUTLINE),
    SceneSource("dahlia", _FLOWER, _oval(0.268, 0.205, 0.695, 0.838)),
    SceneSource("cup", _COFFEE, _CUP_OUTLINE),
    SceneSource("cat", _CHELSEA, _rectangle(0, 0, 1, 1), printed=True),
    SceneSource("rocket", _ROCKET, _rectangle(0.24, 0.2, 0.78, 1), printed=True),
    SceneSource("cameraman", _CAMERA, _CAMERAMAN_OUTLINE),
    SceneSource("coins", _COINS, _rectangle(0, 0, 1, 1), printed=True),
    SceneSource("horse", _HORSE, _rectangle(0, 0, 1, 1), printed=True),
    SceneSource("retina", _RETINA, _oval(0.01, 0.01, 0.99, 0.99)),
)


CLUTTER: tuple[Material, ...] = (
    Material(PackagedPhoto("brick.png", "CC0", "cc0textures.com"), tinted=True),
    Material(PackagedPhoto("grass.png", "CC0", "cc0textures.com"), tinted=True),
    Material(PackagedPhoto("gravel.png", "CC0", "cc0textures.com"), tinted=True),
    Material(PackagedPhoto("text.png", "public domain", "Wikipedia"), tinted=True),
    Material(PackagedPhoto("cell.png", "CC0", "Paul Müller"), tinted=True),
    Material(PackagedPhoto("ihc.png", "no known copyright restrictions", "scikit-image")),
    Material(_HUBBLE),
    Material(_COFFEE, (0.8, 0, 1, 1)),
    Material(_COFFEE, (0, 0.2, 0.125, 1)),
    Material(_CHINA, (0.6, 0.65, 0.86, 1)),
    Material(_CHINA, (0.6, 0.1, 0.84, 0.66)),
    Material(_CHINA, (0.87, 0.3, 1, 1)),
    Material(_FLOWER, (0, 0, 0.25, 1)),
    Material(_FLOWER, (0.72, 0, 1, 0.85)),
    Material(_ROCKET, (0, 0, 0.15, 0.85)),
    Material(_ROCKET, (0.15, 0, 0.45, 0.6)),
    Material(_ASTRONAUT, (0, 0, 0.13, 0.62)),
    Material(_CAMERA, (0.68, 0.5, 1, 1), tinted=True),
    Material(_CAMERA, (0.67, 0.18, 1, 0.48)),
    Material(_CHELSEA, (0.8, 0.3, 1, 1)),
)


def photo_path(photo: PackagedPhoto) -> Path:
    """The path of a photo in its installed package.

    Raises:
        ArtifactError: if the package or the photo is missing.
    """
    distribution = _DISTRIBUTIONS[photo.package]
    spec = find_spec(photo.package)
    if spec is None or spec.origin is None:
        raise ArtifactError(
            f"The demo's photos are in {distribution}, which is not installed: install it."
        )
    path = Path(spec.origin).parent / _FOLDERS[photo.package] / photo.file
    if not path.is_file():
        raise ArtifactError(
            f"The installed {distribution} does not contain {photo.file}: "
            "install the version in constraints.txt, or run the demo on your own photos."
        )
    return path


def open_photo(photo: PackagedPhoto) -> Image.Image:
    """Open a photo; nothing is downloaded."""
    from descriptors.images import read_image

    return read_image(photo_path(photo).read_bytes()).image


def credits_note() -> str:
    """The authors and licences of all photos, and the note that they were changed."""
    photos = dict.fromkeys([s.photo for s in SCENES] + [m.photo for m in CLUTTER])
    named = ", ".join(f"{p.file} ({p.credit}, {p.licence})" for p in photos)
    return (
        "Made by cutting, warping and relighting photos from scikit-image and scikit-learn: "
        f"{named}. CC BY 2.0: creativecommons.org/licenses/by/2.0"
    )
