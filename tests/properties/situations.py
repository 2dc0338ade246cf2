"""What the laws are tried on: maps of every kind, of any shape, for both presets."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import strategies as st

from descriptors.arrays import Encoded, FeatureMaps, Size
from descriptors.method import Method
from descriptors.settings import RegionSettings
from tests.support.tiny_network import (
    LAST_CHANNELS,
    LAST_STRIDE,
    MID_CHANNELS,
    MID_STRIDE,
    tiny_method,
    tiny_settings,
)

METHODS = {preset: tiny_method(tiny_settings(preset)) for preset in ("default", "paper")}
REGIONS = RegionSettings(n_classes=3, min_side=4, whole_image=True)

seeds = st.integers(0, 2**32 - 1)
presets = st.sampled_from(sorted(METHODS))
fills = st.sampled_from(["dense", "sparse", "one channel", "constant", "zero"])


def maps(seed: int, shape: tuple[int, ...], fill: str) -> torch.Tensor:
    """Non-negative maps ``B K H W`` of one kind."""
    random = np.random.default_rng(seed)
    values = random.random(shape)
    if fill == "sparse":
        values *= random.random(shape) > 0.9
    if fill == "one channel":
        values[:, 1:] = 0
    if fill == "constant":
        # Alike in all channels would make CAMs of nothing but rounding: rows of W sum to 0.
        values[:] = random.random((*shape[:2], 1, 1))
    if fill == "zero":
        values[:] = 0
    return torch.from_numpy(values.astype(np.float32))


@st.composite
def encodeds(draw: st.DrawFn, preset: str | None = None) -> Encoded:
    """What the tiny network might give for one or two images, of any shape and kind."""
    batch, width, height = draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    seed = draw(seeds)
    evidence = layer_of(seed, (batch, LAST_CHANNELS, height, width), draw(fills), LAST_STRIDE)
    features: tuple[FeatureMaps, ...] = (evidence,)
    if preset == "default":
        shape = (batch, MID_CHANNELS, 2 * height, 2 * width)
        features = (layer_of(seed + 1, shape, draw(fills), MID_STRIDE), evidence)
    encoder = METHODS["default"].encoder
    scores = evidence.levels.mean(dim=(2, 3)) @ encoder.weight.T + encoder.bias
    return Encoded(features, evidence, scores, Size(width * LAST_STRIDE, height * LAST_STRIDE))


def layer_of(seed: int, shape: tuple[int, ...], fill: str, stride: int) -> FeatureMaps:
    return FeatureMaps(maps(seed, shape, fill), torch.ones(shape[:2]), stride)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Method, Encoded]:
    """A method of one preset and maps for it."""
    preset = draw(presets)
    return METHODS[preset], draw(encodeds(preset))


def each(encoded: Encoded, change: object) -> Encoded:
    """All maps changed, evidence that is a layer staying so."""
    done = {id(m): change(m) for m in (*encoded.features, encoded.evidence)}
    features = tuple(done[id(m)] for m in encoded.features)
    return dataclasses.replace(encoded, features=features, evidence=done[id(encoded.evidence)])


def all_finite(*tensors: torch.Tensor) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
