"""CroW channel weights, and SPoC's weights of cells."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["centring_prior", "channel_weights"]


def channel_weights(active_share: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """CroW channel weights: the rarer a channel is active, the more it counts.

    Args:
        active_share: Q_k, the share of cells in which channel k is above 0.

    Returns:
        ``log(sum of all Q / Q_k)``, natural logarithm; 0 for a channel that is nowhere
        active, so all zero for a map that is.

    Source:
        Kalantidis et al. 2016; paper section 3.2; docs/method.md section 2.
    """
    total = active_share.sum(dim=-1, keepdim=True)
    # Where Q is 0 the ratio is 1, so that its logarithm is 0.
    return torch.log(
        total.clamp_min(1e-12) / torch.where(active_share > 0, active_share, total.clamp_min(1e-12))
    )


def centring_prior(
    height: int, width: int, device: torch.device | None = None
) -> Float[Tensor, "H W"]:
    """SPoC's centring prior: a Gaussian at the centre, sigma = min(H, W) / 3, maximum about 1.

    Source:
        Babenko and Lempitsky 2015; docs/method.md section 10.
    """
    sigma = min(height, width) / 3
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    return torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
