"""The table of compared systems: to compare another, write its pooling and add a row."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.compared.bow import BagOfWords
from evaluation.compared.dense import DenseSystem
from evaluation.compared.pooling import crow, gem, mac, spoc, sum_pooled
from evaluation.compared.r_mac import r_mac
from evaluation.compared.r_mac_search import search_and_localise
from evaluation.compared.razavian import PATCHES, patch_maxima, search_spatially
from evaluation.compared.sift import require_opencv
from evaluation.stages import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from descriptors.encoder import Encoder

__all__ = ["ON_REQUEST", "SYSTEMS", "chosen_systems", "dims_of", "system_of"]

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
ON_REQUEST: Mapping[str, DenseSystem] = MappingProxyType(
    {
        "raw+CroW": DenseSystem(crow, whitened=False),
        "R-MAC R1000": DenseSystem(
            r_mac,
            search=partial(search_and_localise, most=1000),
            stages=(*_FIRST, "R1000", "R1000+QE5"),
        ),
    }
)

_ALL: Mapping[str, DenseSystem | BagOfWords] = MappingProxyType({**SYSTEMS, **ON_REQUEST})


def chosen_systems(names: Collection[str] | None = None) -> tuple[str, ...]:
    """The compared systems of these names, in order of the table; all for None.

    Raises:
        RequestError: for a name that is not in the table, or for BoW without OpenCV.
    """
    for name in names or ():
        if name not in _ALL:
            raise RequestError(
                f"There is no compared system {name!r}: the ones known are {', '.join(_ALL)}."
            )
    chosen = tuple(SYSTEMS if names is None else (name for name in _ALL if name in names))
    if any(isinstance(_ALL[name], BagOfWords) for name in chosen):
        require_opencv()
    return chosen


def system_of(name: str) -> DenseSystem | BagOfWords:
    """The system of this name."""
    return _ALL[name]


def dims_of(name: str, encoder: Encoder) -> int:
    """Numbers that one system keeps of a picture for its first search."""
    layers, known = encoder.settings.layers, encoder.loaded.network.layers
    return system_of(name).dims(layers, [known[layer.name].channels for layer in layers])
