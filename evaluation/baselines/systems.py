"""The table of baselines: to compare with another, write its pooling and add a row."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.baselines.bow import BagOfWords
from evaluation.baselines.dense import DenseSystem
from evaluation.baselines.keypoints import require_opencv
from evaluation.baselines.pooling import crow, gem, mac, spoc, sum_pooled
from evaluation.baselines.r_mac import r_mac, search_and_localise
from evaluation.baselines.razavian import PATCHES, patch_maxima, search_spatially
from evaluation.searching import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from descriptors.encoder import Encoder

__all__ = ["ALL_BASELINES", "SYSTEMS", "chosen_baselines", "dims_of"]

_FIRST = tuple(stage.name for stage in FIRST_STAGES)

SYSTEMS: Mapping[str, DenseSystem | BagOfWords] = MappingProxyType(
    {
        "raw": DenseSystem(sum_pooled, whitened=False),
        "uCroW": DenseSystem(sum_pooled),
        "uCroW+power": DenseSystem(sum_pooled, power=True),
        "SPoC": DenseSystem(spoc),
        "SPoC+power": DenseSystem(spoc, power=True),
        "CroW": DenseSystem(crow),
        "CroW+power": DenseSystem(crow, power=True),
        "GeM": DenseSystem(gem),
        "GeM+power": DenseSystem(gem, power=True),
        "MAC": DenseSystem(mac),
        "MAC+power": DenseSystem(mac, power=True),
        "R-MAC": DenseSystem(
            r_mac, search=search_and_localise, stages=(*_FIRST, "R100", "R100+QE5")
        ),
        "R-MAC+power": DenseSystem(r_mac, power=True),
        "Razavian": DenseSystem(
            patch_maxima,
            summed=False,
            search=search_spatially,
            stages=_FIRST[:1],
            vectors=PATCHES,
        ),
        "BoW": BagOfWords(),
    }
)


# Measured where they are named: for rows of the paper's tables.
_ON_REQUEST: Mapping[str, DenseSystem] = MappingProxyType(
    {
        "raw+CroW": DenseSystem(crow, whitened=False),
        "R-MAC R1000": DenseSystem(
            r_mac,
            search=partial(search_and_localise, window=1000),
            stages=(*_FIRST, "R1000", "R1000+QE5"),
        ),
    }
)

ALL_BASELINES: Mapping[str, DenseSystem | BagOfWords] = MappingProxyType({**SYSTEMS, **_ON_REQUEST})


def chosen_baselines(names: Collection[str] | None = None) -> tuple[str, ...]:
    """The baselines of these names, in order of the table; all but those on request for None.

    Raises:
        RequestError: for a name that is not in the table, or for BoW without OpenCV.
    """
    unknown = [name for name in names or () if name not in ALL_BASELINES]
    if unknown:
        raise RequestError(
            f"There is no baseline {unknown[0]!r}: the ones known are {', '.join(ALL_BASELINES)}."
        )
    chosen = tuple(SYSTEMS if names is None else (n for n in ALL_BASELINES if n in names))
    if any(isinstance(ALL_BASELINES[name], BagOfWords) for name in chosen):
        require_opencv()
    return chosen


def dims_of(name: str, encoder: Encoder) -> int:
    """Numbers that one baseline keeps of an image for its first search."""
    layers, known = encoder.settings.layers, encoder.loaded.network.layers
    return ALL_BASELINES[name].dims(layers, [known[layer.name].channels for layer in layers])
