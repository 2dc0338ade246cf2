"""Made maps, sparse as a network's, and what tests compute from them slowly."""

from __future__ import annotations

import numpy as np
import torch

from descriptors.arrays import FeatureMaps
from evaluation.baselines.maps import LayerMaps


def layer_of(values, scale=1.0, stride=16):
    """The maps ``K H W`` of one image, or ``B K H W``, with these values whatever the scale."""
    levels = torch.from_numpy(values.astype(np.float32) / scale)
    levels = levels.reshape(-1, *values.shape[-3:])
    return LayerMaps(FeatureMaps(levels, torch.full(levels.shape[:2], scale), stride=stride))


def made(channels=5, height=4, width=7, seed=0):
    """About half of the cells are 0, one channel is nowhere active."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((channels, height, width)).clip(0)
    values[1] = 0
    return values


def unit(vector):
    """Of length 1; zero stays zero."""
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def maxima(values, x0, y0, x1, y1):
    """The maximum of each channel in a rectangle, cell by cell."""
    highest = np.zeros(len(values))
    for y in range(y0, y1):
        for x in range(x0, x1):
            highest = np.maximum(highest, values[:, y, x])
    return highest
