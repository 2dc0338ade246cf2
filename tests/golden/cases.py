"""What the golden numbers are made of: three settings on the tiny network, a few images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from descriptors.arrays import Box
from descriptors.settings import LayerSettings, RegionSettings
from tests.support.images import noise, shapes
from tests.support.tiny_network import tiny_settings

if TYPE_CHECKING:
    from PIL import Image

    from descriptors.settings import MethodSettings

ALPHA = 3.0


class Variant(NamedTuple):
    """Settings of a descriptor and of its regions."""

    method: MethodSettings
    regions: RegionSettings


class Case(NamedTuple):
    """One query image, perhaps with a box, and the hits it is held against."""

    name: str
    variant: Variant
    query: Image.Image
    box: Box | None
    hits: list[Image.Image]


def _regions(preset: str, **changes: Any) -> RegionSettings:
    return RegionSettings.model_validate(RegionSettings.preset(preset).model_dump() | changes)


VARIANTS = {
    # Both layers, floor, prior, power; the whole image is one more region.
    "default": Variant(tiny_settings("default"), _regions("default", n_classes=5, min_side=12)),
    # docs/method.md sections 1 to 6 to the letter; the features are the evidence.
    "paper": Variant(tiny_settings("paper"), _regions("paper", n_classes=3, min_side=16)),
    # The same on a layer finer than the evidence, as VGG-16's: maps are resized.
    "paper_mid": Variant(
        tiny_settings("paper", layers=(LayerSettings(name="mid", dims=6),), n_pca=2),
        _regions("paper", n_classes=3, min_side=12),
    ),
}

# Width, height, seed; sizes that the working size, the strides and the boxes do not divide.
_IMAGES = {"landscape": (96, 65, 1), "portrait": (70, 101, 2)}
_BOXES = {"landscape": Box(21.5, 9, 80, 60), "portrait": Box(0, 30.2, 47, 88)}


def cases() -> list[Case]:
    """Every variant, every image, with and without its box."""
    return [
        _case(variant, image, boxed=boxed)
        for variant in VARIANTS
        for image in _IMAGES
        for boxed in (False, True)
    ]


def _case(variant: str, image: str, *, boxed: bool) -> Case:
    width, height, seed = _IMAGES[image]
    hits = [shapes(width, height, seed + 20), noise(width, height, seed + 30)]
    return Case(
        f"{variant}-{image}{'-box' if boxed else ''}",
        VARIANTS[variant],
        shapes(width, height, seed),
        _BOXES[image] if boxed else None,
        hits,
    )
