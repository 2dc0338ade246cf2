"""Every kind of network of timm, with random weights, from pixels to a re-ranked answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from descriptors.arrays import Box
from descriptors.backbones import network_settings
from descriptors.encoder import Encoder
from descriptors.learned import LearnedClasses
from descriptors.method import Method
from descriptors.settings import MethodSettings, RegionSettings
from descriptors.whitening import WhiteningFit
from tests.support.images import rgb_image, shapes
from tests.support.random_networks import random_loaded
from tests.support.tiny_network import batch_of

NAMES = [
    "convnext_atto",
    "dla34",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "resnet50_clip",
    "resnetv2_50",
    "swin_tiny_patch4_window7_224",
    "vit_base_patch16_siglip_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_tiny_patch16_224",
]
QUICK = {"mobilenetv3_small_050", "vit_tiny_patch16_224"}
CASES = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow], id=name) for name in NAMES
]
SIDE, DIMS = 140, 6
# Width and height: of usual shape, of 3 : 1 in both directions, and small.
SIZES = [(200, 150), (200, 150), (300, 100), (100, 300), (60, 60), (60, 45)]


def small_settings(name: str) -> MethodSettings:
    settings = network_settings(name)
    layers = [{"name": layer.name, "dims": DIMS} for layer in settings.layers]
    return MethodSettings.model_validate(
        settings.model_dump() | {"side": SIDE, "layers": layers, "n_classes": 4}
    )


def method_of(name: str) -> Method:
    """The method around a network with random weights, and random classes if it has none."""
    encoder, classes = Encoder(random_loaded(name), small_settings(name), precision="float32"), None
    if encoder.loaded.classifier is None:
        random = torch.Generator().manual_seed(0)
        weight = torch.randn(16, encoder.loaded.network.evidence.channels, generator=random)
        classes = LearnedClasses(weight, torch.zeros(16))
        encoder = encoder.with_classes(classes)
    fit = WhiteningFit(encoder)
    fit.add(encoder.encode(batch_of(encoder, [shapes(140, 112, seed) for seed in range(12)])))
    return Method(encoder, replace(fit.fit("made images"), classes=classes))


@pytest.mark.parametrize("name", CASES)
def test_an_image_of_any_shape_finds_itself_again(name: str) -> None:
    """With its box and heat map; more cannot be asked of random weights."""
    method, regions = method_of(f"timm:{name}"), RegionSettings(min_side=14)
    images = [shapes(*size, seed) for seed, size in enumerate(SIZES)]
    batches = [batch_of(method.encoder, [image]) for image in images]
    described = [method.describe_images(batch) for batch in batches]
    vectors = torch.cat([one.descriptors for one in described])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(images)))
    for i, (width, height) in enumerate(SIZES):
        query = method.describe_query(rgb_image(images[i]), regions)
        assert int((vectors @ query.descriptor).argmax()) == i
        matches = [method.match_regions(query, one.encoded, regions)[0] for one in described]
        scores = [match.score if match else -1 for match in matches]
        assert max(scores) == scores[i] > 0.99
        encoded = described[i].encoded
        assert encoded.working.width % method.encoder.loaded.network.side_multiple == 0
        heat = method.query_heat(encoded, query.classes[None], regions)[0]
        cells = encoded.finest
        assert heat.shape == (cells.height, cells.width)
        assert 0 <= heat.min() < heat.max() <= 1
        x0, y0, x1, y1 = matches[i].region
        assert 0 <= x0 < x1 <= cells.width
        assert 0 <= y0 < y1 <= cells.height
        boxed = method.describe_query(rgb_image(images[i]), regions, Box(0, 0, width / 2, height))
        assert boxed.descriptor.norm() == pytest.approx(1)
