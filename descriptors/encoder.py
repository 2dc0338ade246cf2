"""Run the network: a batch of images at the working size in, their feature maps out."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from descriptors.arrays import Encoded, FeatureMaps, Size
from descriptors.cams import class_scores
from descriptors.errors import ArtifactError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from descriptors.backbones import LoadedNetwork
    from descriptors.images import RgbImage
    from descriptors.learned import LearnedClasses
    from descriptors.settings import MethodSettings

__all__ = ["Encoder", "Precision", "has_bfloat16", "to_working_size", "working_size"]

Precision = Literal["auto", "float32", "bfloat16"]


def has_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 natively, so that autocast is faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("bf16"))


class Encoder:
    """A network on a device: `prepare` runs on the CPU, `encode` on the device.

    Only one thread at a time may call `encode`.
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        settings: MethodSettings,
        device: str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        """Put the network on the device.

        Raises:
            SettingsError: the network lacks a layer, or the device is not available.
        """
        network = loaded.network
        for layer in settings.layers:
            if layer.name not in network.layers:
                raise SettingsError(
                    f"{loaded.name} has no layer {layer.name!r}: "
                    f"choose from {', '.join(network.layers)}."
                )
        self.loaded = loaded
        self.settings = settings
        self.device = _device(device)
        self.autocast = precision == "bfloat16" or (
            precision == "auto" and has_bfloat16(self.device)
        )
        # Kept 8-bit levels are exact in bfloat16.
        self.dtype = torch.bfloat16 if self.autocast else torch.float32
        # A CPU with native bfloat16 also multiplies bytes natively, twice as fast.
        bytes_first = self.autocast and self.device.type == "cpu"
        self.kept_dtype = torch.uint8 if bytes_first else self.dtype
        self._taps = tuple(network.layers[layer.name] for layer in settings.layers)
        self._evidence = network.evidence
        self.module = loaded.module.to(self.device).to(memory_format=torch.channels_last)
        self.weight, self.bias = _labels(loaded)
        self.learned = False
        self._mean = torch.tensor(network.mean, device=self.device)[:, None, None] * 255
        self._std = torch.tensor(network.std, device=self.device)[:, None, None] * 255
        self._backwards = network.channel_order == "BGR"

    def with_classes(self, classes: LearnedClasses) -> Encoder:
        """The same network with learned classes in place of its own.

        Raises:
            ArtifactError: they were learned from maps with another number of channels.
        """
        channels = classes.weight.shape[1]
        if channels != self._evidence.channels:
            raise ArtifactError(
                f"The classes were learned from {channels} channels, and {self.loaded.name} has "
                f"{self._evidence.channels}: learn them again with `camsearch fit`."
            )
        learned, on_device = copy.copy(self), classes.to(self.device)
        learned.weight, learned.bias = on_device.weight, on_device.bias
        learned.learned = True
        return learned

    def scored(self, encoded: Encoded) -> Encoded:
        """A copy with the scores of these classes, for maps that were kept with others."""
        return replace(encoded, scores=class_scores(encoded.evidence, self.weight, self.bias))

    def ready(self, encoded: Encoded) -> Encoded:
        """Maps in the type that this machine sums fastest: bytes or floating point."""
        return encoded if self.kept_dtype == torch.uint8 else encoded.floating(self.dtype)

    def prepare(self, images: list[UInt8[Tensor, "3 h w"]]) -> UInt8[Tensor, "B 3 h w"]:
        """One batch of images of one shape, in channels-last layout."""
        return torch.stack(images).contiguous(memory_format=torch.channels_last)

    def normalise(self, batch: UInt8[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """The network's input on its device, with channels in the network's order."""
        batch = batch.to(self.device, non_blocking=True)
        if self._backwards:
            batch = batch.flip(1)
        return (batch.float() - self._mean) / self._std

    def forward(self, inputs: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B C"]:
        """The network's output, without feature maps."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits: Tensor = self.module(inputs)
        return logits

    @torch.inference_mode()
    def encode(self, batch: UInt8[Tensor, "B 3 h w"]) -> Encoded:
        """The maps and class scores of a batch from `prepare`.

        Source:
            docs/method.md section 1.
        """
        taps = {tap.module: tap for tap in (*self._taps, self._evidence)}
        with _tapped(self.module, taps) as seen:
            self.forward(self.normalise(batch))
        maps = {name: self._maps(seen[name], tap.stride) for name, tap in taps.items()}
        evidence = maps[self._evidence.module]
        return Encoded(
            tuple(maps[tap.module] for tap in self._taps),
            evidence,
            class_scores(evidence, self.weight, self.bias),
            Size(batch.shape[3], batch.shape[2]),
        )

    def _maps(self, values: Float[Tensor, "B K H W"], stride: int) -> FeatureMaps:
        if self.loaded.network.rectify:
            values = values.relu()
        ones = torch.ones(values.shape[:2], device=values.device)
        return FeatureMaps(values, ones, stride)


@contextmanager
def _tapped(module: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of these submodules while the context is active."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen[name] = output

    hooks = [
        module.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _labels(loaded: LoadedNetwork) -> tuple[Float[Tensor, "C J"], Float[Tensor, " C"]]:
    """The rows of the network's own linear layer; none if it has no such layer."""
    layer = loaded.classifier
    if layer is None:
        device = next(loaded.module.parameters()).device
        none = torch.zeros(0, loaded.network.evidence.channels, device=device)
        return none, none.new_zeros(0)
    weight = layer.weight.float()
    return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.float()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"There is no device {name!r}: use cpu, or cuda:0.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"CUDA device {name!r} is not available: use --device cpu.")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"The device {name!r} is not available ({str(error).splitlines()[0].rstrip('.')}): "
            "use cpu, or cuda:0 if there is a GPU."
        ) from error
    return device


def to_working_size(image: RgbImage, settings: MethodSettings) -> UInt8[Tensor, "3 h w"]:
    """The image resized to its working size; the aspect changes only by rounding.

    Source:
        docs/method.md section 7.
    """
    size = working_size(image.size, settings)
    shown = image.image
    if shown.size != size:
        shown = shown.resize(size, Image.Resampling.BICUBIC)
    pixels = np.array(shown)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def working_size(full: Size, settings: MethodSettings) -> Size:
    """Width and height of the network's input for an image of this full size."""
    named = max(full) if settings.side_is == "longer" else min(full)
    scale = settings.side / named
    step = settings.side_multiple
    width, height = (max(step, round(side * scale / step) * step) for side in full)
    # With "shorter", limit the longer side of very long images to 4 x.
    most = max(step, 4 * settings.side // step * step)
    return Size(min(width, most), min(height, most))
