"""The baselines of one vector an image: how each pools a feature map.

Every function takes one layer of B images and gives ``B 1 K``: a unit vector an image,
zero where there is no activation. What follows is the same for all, see
`evaluation.baselines.dense`.

Convention:
    For a query with a box the maps are cut to it first, so that only the cells inside
    are pooled, and "the image" below is the cut.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import channel_weights, region_windows
from evaluation.baselines.maps import LayerMaps

__all__ = ["crow", "gem", "mac", "spoc", "sum_pooled"]


def sum_pooled(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """Sum pooling: every cell and every channel counts alike.

    Without a whitening this is "raw" (Jimenez et al. 2017, table 1). With one it is both
    their "raw + PCA" and the "uCroW" of Kalantidis et al. 2016 ("Cross-dimensional
    Weighting for Aggregated Deep Convolutional Features"), CroW with uniform weights: both
    are sum, l2, PCA-whitening, l2. The published figures of the two differ only by the
    network's layer and the image size, which are the same for all systems here.
    """
    return _unit(layer.cells.sum(dim=2) * layer.scale)


def spoc(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """SPoC: sum pooling under a Gaussian at the centre of the image.

    Source:
        Babenko and Lempitsky 2015, "Aggregating Deep Convolutional Features for Image
        Retrieval", section 3. Their sigma is min(H, W) / 6, a third of the way from the
        centre to the nearest border; min(H, W) / 3, docs/method.md section 10's, serves SPoC better
        on our photos (mAP .876 against .836), so that is what ours is compared with.
    """
    whole = torch.tensor([[[0, 0, layer.width, layer.height]]], device=layer.cells.device)
    prior = region_windows(whole, layer.height, layer.width, centring=True)[0, 0]
    return _unit(layer.cells @ prior.flatten() * layer.scale)


def crow(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """CroW: cells weigh by their activation, channels by their rarity.

    The weight of a cell is the sum of its channels, divided by the l2 norm over all cells
    (a = 2), to the power 1/b, b = 2.

    Source:
        Kalantidis et al. 2016, "Cross-dimensional Weighting for Aggregated Deep
        Convolutional Features", sections 3.2 and 3.3.
    """
    summed = torch.bmm(layer.scale[:, None], layer.cells)
    weights = functional.normalize(summed, dim=2).sqrt()
    sums = torch.bmm(layer.cells, weights.transpose(1, 2))[:, :, 0] * layer.scale
    # Written as numbers at once: a detour by booleans takes far longer.
    positive = torch.gt(layer.cells, 0, out=torch.empty_like(layer.cells))
    return _unit(sums * channel_weights(positive.mean(dim=2)))


def gem(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """GeM: the generalised mean over the cells, between mean (p = 1) and maximum; p = 3.

    Source:
        Radenovic et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation",
        section 3.2.
    """
    cubes = (layer.cells * layer.cells * layer.cells).mean(dim=2)
    return _unit(cubes ** (1 / 3) * layer.scale)


def mac(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """MAC: the maximum of each channel.

    Source:
        Tolias et al. 2016, "Particular Object Retrieval with Integral Max-Pooling of CNN
        Activations", section 3.1; Razavian et al. 2016 pool the same way.
    """
    return _unit(layer.cells.amax(dim=2) * layer.scale)


def _unit(vectors: Float[Tensor, "B K"]) -> Float[Tensor, "B 1 K"]:
    return functional.normalize(vectors, dim=1)[:, None]
