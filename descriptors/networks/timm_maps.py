"""The maps of a network of timm, whatever its kind, and its weights from a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["TimmMaps", "both_signs", "from_timm_file"]


def both_signs(maps: Float[Tensor, "B K H W"]) -> Float[Tensor, "B 2*K H W"]:
    """Maps from 0 up that keep everything: the positive values, then the negative ones as positive."""
    return torch.cat([maps.relu(), (-maps).relu()], dim=1)


class TimmMaps(nn.Module):
    """A network of timm whose maps are what the children `mid` and `last` put out.

    Transformers give the grid of their patches, without class and register tokens.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Mapping[str, int],
        signed: Collection[str] = (),
        *,
        labelled: bool = True,
    ) -> None:
        """Wrap the network.

        Args:
            network: of timm.
            layers: numbers in its `feature_info` of `last`, and of `mid` before it if it has one.
            signed: layers with negative values.
            labelled: whether its class scores are used.
        """
        super().__init__()
        if not labelled:
            network.reset_classifier(0)  # type: ignore[operator]
        self.network = network
        self.mid, self.last = nn.Identity(), nn.Identity()
        self.layers = dict(layers)
        self.signed = frozenset(signed)
        self.labelled = labelled

    def maps(self, images: Float[Tensor, "B 3 h w"]) -> tuple[dict[str, Tensor], Tensor]:
        """The maps by layer, and the network's own final features."""
        run = self.network.forward_intermediates
        final, maps = run(images, indices=list(self.layers.values()), norm=True)  # type: ignore[operator]
        # Some networks convolve once more after the last layer that timm counts.
        if final.ndim == maps[-1].ndim and final.shape[2:] == maps[-1].shape[2:]:
            maps = [*maps[:-1], final]
        return dict(zip(self.layers, maps, strict=True)), final

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B _"]:
        """The class scores, or without labels the mean of the last maps."""
        maps, final = self.maps(images)
        for name, values in maps.items():
            self.get_submodule(name)(both_signs(values) if name in self.signed else values)
        if self.labelled:
            scores: Tensor = self.network.forward_head(final)  # type: ignore[operator]
            return scores
        return maps["last"].mean(dim=(2, 3))


def from_timm_file(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The state dict of `TimmMaps` from a file of timm's, or of the network's authors.

    Convention:
        timm knows the names that many authors use, and the positions of another image size. A
        classifier that the module lacks is left out.

    Raises:
        ArtifactError: timm cannot convert the file.
    """
    network: nn.Module = module.network  # type: ignore[assignment]
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        try:
            state = convert(dict(state), network)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"timm cannot convert the weight file ({type(error).__name__}: {error}): give a "
                "state dict of timm."
            ) from error
    unused = set() if module.labelled else _classifiers(network)
    kept = {k: v for k, v in state.items() if k.rpartition(".")[0] not in unused}
    return {f"network.{key}": value for key, value in kept.items()}


def _classifiers(network: nn.Module) -> set[str]:
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return {named} if isinstance(named, str) else set(named)
