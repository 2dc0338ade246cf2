"""Made maps, sparse as a network's, and what tests compute from them slowly."""

from __future__ import annotations

import numpy as np
import torch

from descriptors.arrays import FeatureMaps
from evaluation.baselines.maps import LayerMaps


def layer_of(values: np.ndarray, scale: float = 1.0, stride: int = 16) -> LayerMaps:
    """The maps ``K H W`` of one image, or ``B K H W``, with these values whatever the scale."""
    levels = torch.from_numpy(values.astype(np.float32) / scale)
    levels = levels.reshape(-1, *values.shape[-3:])
    return LayerMaps(FeatureMaps(levels, torch.full(levels.shape[:2], scale), stride=stride))


def made(channels: int = 5, height: int = 4, width: int = 7, seed: int = 0) -> np.ndarray:
    """About half of the cells are 0, one channel is nowhere active."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((channels, height, width)).clip(0)
    values[1] = 0
    return values


def unit(vector: np.ndarray) -> np.ndarray:
    """Of length 1; zero stays zero."""
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def maxima(values: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """The maximum of each channel in a rectangle, cell by cell."""
    highest = np.zeros(len(values))
    for y in range(y0, y1):
        for x in range(x0, x1):
            highest = np.maximum(highest, values[:, y, x])
    return highest
