"""Classes learned from images instead of labels: rows of a linear layer over the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    import torch

__all__ = ["LearnedClasses"]


@dataclass(frozen=True)
class LearnedClasses:
    """A linear layer that takes the place of the network's classifier.

    Attributes:
        weight: one row per class, over the channels of the evidence.
        bias: one per class.
    """

    weight: Float[Tensor, "C J"]
    bias: Float[Tensor, " C"]

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.bias)

    def to(self, device: torch.device) -> LearnedClasses:
        """A copy on another device."""
        return LearnedClasses(self.weight.to(device), self.bias.to(device))
