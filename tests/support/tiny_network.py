"""A network small enough for every test: the real `Encoder` and `Method` run on it in
milliseconds, on any processor, with nothing to download.

Two convolutions with ReLU, global average pooling, one linear layer:
``mid`` has 8 channels at stride 4, ``last`` 12 channels at stride 8 (it is the evidence too),
10 classes. Its weights are drawn from a fixed seed, so numbers can be kept (see tests/golden).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from descriptors.arrays import Encoded, FeatureMaps
from descriptors.backbones import LoadedNetwork
from descriptors.encoder import Encoder, to_working_size
from descriptors.method import Method
from descriptors.networks.network import FeatureLayer, Network
from descriptors.settings import LayerSettings, MethodSettings
from descriptors.whitening import WhiteningFit
from tests.support.images import collection, rgb_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from descriptors.whitening import Whitening

__all__ = [
    "CLASSES",
    "LAST_CHANNELS",
    "MID_CHANNELS",
    "TINY",
    "batch_of",
    "eight_bit",
    "feature_maps",
    "tiny_encoder",
    "tiny_loaded",
    "tiny_method",
    "tiny_settings",
    "tiny_whitening",
]

MID_CHANNELS, LAST_CHANNELS, CLASSES = 8, 12, 10
MID_STRIDE, LAST_STRIDE = 4, 8


def build_tiny() -> nn.Module:
    """The module without weights of its own: those are `tiny_state`'s."""
    return nn.Sequential(
        OrderedDict(
            [
                # Kernel and padding are such that a side of n pixels gives ceil(n / stride) cells.
                ("conv1", nn.Conv2d(3, MID_CHANNELS, 5, stride=MID_STRIDE, padding=2)),
                ("mid", nn.ReLU()),
                ("conv2", nn.Conv2d(MID_CHANNELS, LAST_CHANNELS, 3, stride=2, padding=1)),
                ("last", nn.ReLU()),
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("fc", nn.Linear(LAST_CHANNELS, CLASSES)),
            ]
        )
    )


TINY = Network(
    build=build_tiny,
    layers={
        "mid": FeatureLayer("mid", channels=MID_CHANNELS, stride=MID_STRIDE),
        "last": FeatureLayer("last", channels=LAST_CHANNELS, stride=LAST_STRIDE),
    },
    evidence=FeatureLayer("last", channels=LAST_CHANNELS, stride=LAST_STRIDE),
    classifier="fc",
    mean=(0.5, 0.45, 0.4),
    std=(0.25, 0.3, 0.35),
)

_GAIN = {"conv1.weight": 2.0, "conv2.weight": 2.0, "fc.weight": 20.0}


def tiny_state(seed: int = 0) -> dict[str, Tensor]:
    """Weights, drawn with numpy so that they are the same with every torch."""
    random = np.random.default_rng(seed)
    state = {}
    for name, value in build_tiny().state_dict().items():
        drawn = random.standard_normal(value.shape)
        if name.endswith("weight"):
            # Rows of mean 0 answer to patterns, not to brightness: images differ in their classes.
            drawn = drawn - drawn.mean(axis=tuple(range(1, drawn.ndim)), keepdims=True)
            drawn *= _GAIN[name] / value[0].numel() ** 0.5
        else:
            drawn *= 0.05
        state[name] = torch.from_numpy(drawn.astype(np.float32))
    return state


def tiny_loaded(seed: int = 0) -> LoadedNetwork:
    """The network with the weights of one seed; other seeds count as other weights."""
    module = build_tiny()
    module.load_state_dict(tiny_state(seed))
    module.eval().requires_grad_(requires_grad=False)
    return LoadedNetwork("tiny", TINY, module, f"{seed:064x}")


def tiny_settings(preset: str = "default", **changes: Any) -> MethodSettings:
    """A preset cut down to the tiny network; `changes` are fields of `MethodSettings`."""
    both = (LayerSettings(name="mid", dims=6), LayerSettings(name="last", dims=8))
    small: dict[str, Any] = {"network": "tiny", "side": 64, "n_classes": 4}
    if preset == "paper":
        small |= {"side": 48, "layers": (LayerSettings(name="last", dims=8),)}
    else:
        small |= {"side_multiple": 8, "layers": both}
    base = MethodSettings.preset(preset).model_dump() | small | changes
    return MethodSettings.model_validate(base)


def tiny_encoder(
    settings: MethodSettings | None = None, *, seed: int = 0, device: str = "cpu"
) -> Encoder:
    """The real encoder around the tiny network, in float32."""
    return Encoder(
        tiny_loaded(seed), settings or tiny_settings(), device=device, precision="float32"
    )


def tiny_whitening(encoder: Encoder, images: Sequence[Image.Image] | None = None) -> Whitening:
    """A whitening fitted on the best class vectors of a few dozen made images."""
    fit = WhiteningFit(encoder)
    fit.add(encoder.encode(batch_of(encoder, images or collection(32, seed=7))))
    return fit.fit("made images of the tests")


def tiny_method(
    settings: MethodSettings | None = None, *, seed: int = 0, device: str = "cpu"
) -> Method:
    """A real `Method` with its own network and whitening: about 0.1 s."""
    encoder = tiny_encoder(settings, seed=seed, device=device)
    return Method(encoder, tiny_whitening(encoder))


def batch_of(encoder: Encoder, images: Sequence[Image.Image]) -> Tensor:
    """Images of one shape as the encoder takes them."""
    return encoder.prepare([to_working_size(rgb_image(im), encoder.settings) for im in images])


def feature_maps(levels: object, stride: int = 4, scale: object = 1.0) -> FeatureMaps:
    """Maps of one image from nested lists ``K H W``, or of a batch from ``B K H W``."""
    values = torch.as_tensor(levels)
    values = values if values.dtype == torch.uint8 else values.float()
    values = values if values.ndim == 4 else values[None]
    scales = torch.as_tensor(scale, dtype=torch.float32).expand(values.shape[:2]).contiguous()
    return FeatureMaps(values, scales, stride)


def eight_bit(encoded: Encoded) -> Encoded:
    """As kept maps come back: levels of 8 bit with a scale an image and channel."""
    maps = (*encoded.features, encoded.evidence)
    packed = {id(each): _packed(each) for each in maps}
    features = tuple(packed[id(each)] for each in encoded.features)
    return replace(encoded, features=features, evidence=packed[id(encoded.evidence)])


def _packed(maps: FeatureMaps) -> FeatureMaps:
    values = maps.values()
    scale = values.amax(dim=(2, 3)).clamp_min(1e-9) / 255
    levels = (values / scale[:, :, None, None]).round().to(torch.uint8)
    return FeatureMaps(levels, scale, maps.stride)
