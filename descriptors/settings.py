"""Settings of the method: every number that changes a descriptor, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from descriptors.errors import SettingsError

__all__ = ["PRESETS", "LayerSettings", "MethodSettings", "RegionSettings"]

PRESETS = ("default", "paper")

# Former names of region settings, found in older galleries.
_RENAMED = {
    "least_side": "min_side",
    "expand_most": "expand_max",
    "whole_picture": "whole_image",
}


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LayerSettings(_Frozen):
    """A feature layer, and the dimensions of its descriptor."""

    name: str
    dims: int = Field(ge=1, le=4096)


class RegionSettings(_Frozen):
    """CAM-region re-ranking (docs/method.md section 6).

    These settings apply to queries and are not part of the fingerprint: they can be changed
    without indexing again. Only ``coarse_maps`` applies to indexing; maps that were kept
    with the other value remain usable.
    """

    n_classes: int = Field(8, ge=1, description="N_re: best classes of the query in each region")
    heat_map_classes: int = Field(2, ge=1, description="best classes averaged to the heat map")
    thresholds: tuple[float, ...] = Field(
        (0.01, 0.1, 0.2, 0.3, 0.4), description="shares of the heat map's maximum, ascending"
    )
    min_side: int = Field(
        80, ge=1, description="minimum side of a region in pixels of the working size"
    )
    whole_image: bool = Field(True, description="try the whole image as one more region")
    expand_with_regions: bool = Field(
        False, description="expand the query with the best regions instead of indexed descriptors"
    )
    remember_regions: bool = Field(
        True,
        description="in the second search, score a re-ranked hit by its best region if better",
    )
    expand_neighbours: int = Field(
        5,
        ge=0,
        description="K: nearest hits to which each hit is joined in the diffusion graph; 0 turns "
        "diffusion off",
    )
    expand_spread: float = Field(
        0.9, ge=0, lt=1, description="how far diffusion goes; 0 stays at the first n hits"
    )
    expand_max: int = Field(
        20, ge=1, description="maximum number of hits that expand the query with diffusion"
    )
    coarse_maps: bool = Field(
        True,
        description="average maps that are finer than the evidence down to its grid before they "
        "are kept and compared",
    )

    @classmethod
    def preset(cls, name: str) -> RegionSettings:
        """The region settings of the preset; see `MethodSettings.preset`."""
        if _known_preset(name) == "paper":
            return cls(
                n_classes=6,
                whole_image=False,
                expand_with_regions=True,
                remember_regions=False,
                coarse_maps=False,
                expand_neighbours=0,
            )
        return cls(n_classes=8)

    @classmethod
    def of_gallery(cls, stored: object) -> RegionSettings:
        """The settings stored in a gallery, with the defaults of its time.

        Raises:
            ValueError: they cannot be read.
        """
        if isinstance(stored, Mapping):
            named = {_RENAMED.get(name, name): value for name, value in stored.items()}
            stored = {"expand_neighbours": 0, "coarse_maps": False, **named}
        return cls.model_validate(stored)

    def of_whole_images(self) -> RegionSettings:
        """A copy that tries the whole image only: OnA on the window."""
        return self.model_copy(update={"thresholds": (), "whole_image": True})

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> RegionSettings:
        if list(self.thresholds) != sorted(set(self.thresholds)) or not all(
            0 <= t < 1 for t in self.thresholds
        ):
            raise ValueError("thresholds must ascend within 0 <= t < 1")
        return self


class MethodSettings(_Frozen):
    """Every number that changes a descriptor (docs/method.md sections 1 to 4 and 10).

    `preset` returns the two named settings; any field can be changed from there.
    """

    network: str = Field("efficientnet_lite0", description="a name of descriptors.backbones")
    layers: tuple[LayerSettings, ...] = Field(
        (LayerSettings(name="mid", dims=256), LayerSettings(name="last", dims=256)),
        min_length=1,
        description="feature layers; their descriptors are concatenated",
    )
    side: int = Field(512, ge=32, le=4096, description="working size: pixels of the named side")
    side_is: Literal["longer", "shorter"] = Field("longer", description="which side `side` means")
    side_multiple: int = Field(
        32, ge=1, description="both sides are rounded to this, so that batches form"
    )
    n_classes: int = Field(8, ge=1, description="N_C: best classes in a descriptor")
    theme: tuple[NonNegativeInt, ...] = Field(
        (), description="fixed classes instead of the best ones"
    )
    n_pca: int = Field(8, ge=1, description="class vectors per image for fitting the whitening")
    weight_floor: float = Field(0.1, ge=0, description="added to each CAM before weighting")
    centring_prior: bool = Field(True, description="Gaussian at the centre, sigma = min(H, W) / 3")
    power: float = Field(0.5, gt=0, le=1, description="exponent of the class vectors; 1 is off")
    probability_weights: bool = Field(
        False, description="weight each class by the square root of its probability"
    )
    windows: Literal[0, 5, 14, 30, 66, 130] = Field(
        14, description="windows of each image in the index, the whole image included; 0 is off"
    )

    @classmethod
    def of_gallery(cls, stored: object) -> MethodSettings:
        """The settings stored in a gallery; one made before there were windows has none.

        Raises:
            ValueError: they cannot be read.
        """
        return cls.model_validate(
            {"windows": 0, **stored} if isinstance(stored, Mapping) else stored
        )

    @classmethod
    def preset(cls, name: str) -> MethodSettings:
        """``default``, or ``paper``: docs/method.md sections 1 to 7.

        Raises:
            SettingsError: unknown preset.
        """
        if _known_preset(name) == "paper":
            return cls(
                layers=(LayerSettings(name="last", dims=512),),
                side=720,
                side_is="shorter",
                side_multiple=1,
                n_classes=64,
                n_pca=1,
                weight_floor=0,
                centring_prior=False,
                power=1,
                windows=0,
            )
        return cls()

    @property
    def dims(self) -> int:
        """Dimensions of a descriptor, summed over the layers."""
        return sum(layer.dims for layer in self.layers)

    def digest(self) -> str:
        """SHA-256 of all settings, hexadecimal.

        Convention:
            Without windows it is that of a gallery made before there were windows.
        """
        left_out = set() if self.windows else {"windows"}
        canonical = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def vector_digest(self) -> str:
        """Like `digest`, of the settings that change class vectors and thus the whitening.

        The number of classes summed, their weights and the windows apply after the whitening.
        """
        canonical = self.model_dump(
            mode="json", exclude={"n_classes", "theme", "n_pca", "probability_weights", "windows"}
        )
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()
