"""Where and how to compute, and loading a method there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import ArtifactError
from descriptors.images import ImageLimits
from descriptors.method import Method
from descriptors.whitening import Whitening, packaged_whitening

if TYPE_CHECKING:
    from pathlib import Path

    from descriptors.encoder import Precision
    from descriptors.settings import MethodSettings

__all__ = ["Machine", "method_of"]


@dataclass(frozen=True)
class Machine:
    """How and where to compute; affects results only by rounding.

    Attributes:
        device: cpu, or cuda:0.
        precision: "auto" uses bfloat16 if the device multiplies it natively.
        batch_size: images per forward pass.
        readers: threads that read and decode images.
        limits: on images.
    """

    device: str = "cpu"
    precision: Precision = "auto"
    batch_size: int = 8
    readers: int = 4
    limits: ImageLimits = ImageLimits()


def method_of(
    settings: MethodSettings, whitening: Path | None, weights: Path | None, machine: Machine
) -> Method:
    """Load the method with these settings.

    Args:
        settings: of the method.
        whitening: a file from `camsearch fit`; None for the network's packaged one.
        weights: a local weight file; None for those of the network's package.
        machine: where to compute.

    Raises:
        ArtifactError: weights or whitening are missing or do not fit the settings.
    """
    encoder = Encoder(
        load_network(settings.network, weights), settings, machine.device, machine.precision
    )
    try:
        file = whitening or packaged_whitening(settings.network)
        return Method(encoder, Whitening.load(file))
    except ArtifactError as error:
        if whitening is not None:
            raise
        raise ArtifactError(
            "A whitening is packaged for the default preset of efficientnet_lite0, "
            "efficientnet_lite1 and efficientnet_lite2 only: fit one on your images "
            "with `camsearch fit PATH --out FILE` and the same options, then give it "
            "with --whitening FILE."
        ) from error
