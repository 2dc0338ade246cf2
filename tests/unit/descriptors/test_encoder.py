"""The encoder: its three steps, batches, precisions, devices."""

from __future__ import annotations

import dataclasses
import random
from functools import cache
from importlib.resources import files

import pytest
import torch
from PIL import Image
from torch import nn

from descriptors.backbones import LoadedNetwork, load_network
from descriptors.encoder import Encoder, has_bfloat16
from descriptors.errors import SettingsError
from descriptors.method import Method
from descriptors.settings import LayerSettings, MethodSettings
from descriptors.whitening import Whitening, packaged_whitening
from tests.support.checking import REFUSED
from tests.support.images import noise, shapes
from tests.support.tiny_network import (
    TINY,
    batch_of,
    build_tiny,
    tiny_encoder,
    tiny_loaded,
    tiny_method,
    tiny_settings,
)
from tests.support.tolerances import MIN_COSINE, SAME_NUMBERS

NO_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="NO GPU: results on cuda were NOT compared"
)
NO_BFLOAT16 = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="NO bfloat16 here: autocast was NOT compared"
)
IMAGES = [shapes(64, 48, 1), noise(64, 48, 2), shapes(64, 48, 3), shapes(64, 48, 4)]


@cache
def lite0() -> LoadedNetwork:
    return load_network("efficientnet_lite0")


def crops(count: int, seed: int) -> list[Image.Image]:
    """Parts of the two photos that scikit-learn carries: real texture, no download."""
    draw = random.Random(seed)
    photos = [
        Image.open(str(files("sklearn.datasets") / "images" / name)).convert("RGB")
        for name in ("china.jpg", "flower.jpg")
    ]
    parts = []
    for i in range(count):
        side = draw.randrange(200, 400)
        x, y = draw.randrange(640 - side), draw.randrange(427 - side)
        parts.append(photos[i % 2].crop((x, y, x + side, y + side)))
    return parts


def default_method(precision: str, device: str = "cpu") -> Method:
    """The default network and settings with the whitening that is delivered.

    A whitening fitted on few images would be no measure: it enlarges rounding. With 384 vectors
    for 256 dimensions, cosines between float32 and bfloat16 fall to 0.65.
    """
    encoder = Encoder(lite0(), MethodSettings(), device=device, precision=precision)
    return Method(encoder, Whitening.load(packaged_whitening("efficientnet_lite0")))


class TestPrepare:
    def test_keeps_pixels_and_order_channels_last(self) -> None:
        encoder = tiny_encoder()
        images = [torch.full((3, 8, 8), i, dtype=torch.uint8) for i in (7, 9)]
        batch = encoder.prepare(images)
        assert [batch[i].unique().tolist() for i in (0, 1)] == [[7], [9]]
        assert batch.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("sizes", [(), ((8, 8), (8, 16))])
    def test_bad_input(self, sizes: tuple[tuple[int, int], ...]) -> None:
        with pytest.raises(REFUSED):
            tiny_encoder().prepare([torch.zeros(3, *size, dtype=torch.uint8) for size in sizes])


class TestNormalise:
    def test_by_hand(self) -> None:
        """(x / 255 - mean) / std of each channel; the tiny network's are .5 .45 .4, .25 .3 .35."""
        batch = torch.tensor([0, 102, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
        values = tiny_encoder().normalise(batch).flatten()
        torch.testing.assert_close(
            values, torch.tensor([-0.5 / 0.25, (0.4 - 0.45) / 0.3, 0.6 / 0.35])
        )

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            tiny_encoder().normalise(torch.zeros(1, 3, 8, 8))


class TestEncode:
    def test_is_the_network_itself(self) -> None:
        encoder, plain = tiny_encoder(), tiny_loaded().module
        batch = batch_of(encoder, IMAGES)
        encoded = encoder.encode(batch)
        mid = plain.mid(plain.conv1(encoder.normalise(batch)))
        last = plain.last(plain.conv2(mid))
        SAME_NUMBERS.check(mid, encoded.features[0].values())
        SAME_NUMBERS.check(last, encoded.features[1].values())
        SAME_NUMBERS.check(plain(encoder.normalise(batch)), encoded.scores)

    def test_layers_come_in_the_order_of_the_settings(self) -> None:
        layers = (LayerSettings(name="last", dims=4), LayerSettings(name="mid", dims=4))
        encoder = tiny_encoder(tiny_settings(layers=layers))
        encoded = encoder.encode(batch_of(encoder, IMAGES))
        assert [maps.stride for maps in encoded.features] == [8, 4]
        assert encoded.evidence is encoded.features[0]
        assert encoded.finest == encoded.features[1].cells

    def test_maps_with_negatives_are_rectified_where_the_table_says_so(self) -> None:
        before_relu = {
            "mid": dataclasses.replace(TINY.layers["mid"], module="conv1"),
            "last": dataclasses.replace(TINY.layers["last"], module="conv2"),
        }
        network = dataclasses.replace(
            TINY, layers=before_relu, evidence=before_relu["last"], rectify=True
        )
        loaded = dataclasses.replace(tiny_loaded(), network=network)
        batch = batch_of(tiny_encoder(), IMAGES)
        rectified = Encoder(loaded, tiny_settings(), precision="float32").encode(batch)
        expected = tiny_encoder().encode(batch)
        for a, b in zip(rectified.features, expected.features, strict=True):
            torch.testing.assert_close(a.values(), b.values())

    def test_a_batch_is_its_images_one_by_one(self) -> None:
        encoder = tiny_encoder()
        together = encoder.encode(batch_of(encoder, IMAGES))
        for i, image in enumerate(IMAGES):
            alone = encoder.encode(batch_of(encoder, [image]))
            SAME_NUMBERS.check(alone.scores[0], together.scores[i])
            for a, b in zip(alone.features, together.features, strict=True):
                SAME_NUMBERS.check(a.values()[0], b.values()[i])

    def test_a_classifier_without_bias_is_one_with_zeros(self) -> None:
        module = build_tiny()
        module.load_state_dict(tiny_loaded().module.state_dict())
        weight = module.fc.weight
        module.fc = nn.Linear(*reversed(weight.shape), bias=False)
        module.fc.weight = weight
        loaded = LoadedNetwork("tiny", TINY, module.eval().requires_grad_(False), "0" * 64)
        encoder = Encoder(loaded, tiny_settings(), precision="float32")
        batch = batch_of(encoder, IMAGES)
        SAME_NUMBERS.check(module(encoder.normalise(batch)), encoder.encode(batch).scores)

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            tiny_encoder().encode(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))


class TestRefused:
    def test_a_layer_the_network_does_not_have(self) -> None:
        settings = tiny_settings(layers=(LayerSettings(name="middle", dims=4),))
        with pytest.raises(SettingsError, match=r"no layer 'middle': choose from mid, last"):
            tiny_encoder(settings)

    def test_a_device_that_is_none(self) -> None:
        with pytest.raises(SettingsError, match="no device 'gpu'"):
            tiny_encoder(device="gpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU answers here")
    def test_a_gpu_that_is_not_there(self) -> None:
        with pytest.raises(SettingsError, match=r"CUDA device .* is not available"):
            tiny_encoder(device="cuda:0")

    def test_a_device_torch_knows_but_this_machine_lacks(self) -> None:
        with pytest.raises(SettingsError, match="The device 'xpu' is not available"):
            tiny_encoder(device="xpu")


class TestPrecision:
    def test_auto_is_bfloat16_where_it_is_native(self) -> None:
        encoder = Encoder(tiny_loaded(), tiny_settings())
        assert encoder.autocast == has_bfloat16(torch.device("cpu"))

    @NO_BFLOAT16
    def test_of_the_tiny_network(self) -> None:
        exact = tiny_method(tiny_settings())
        fast = Method(
            Encoder(tiny_loaded(), tiny_settings(), precision="bfloat16"), exact.whitening
        )
        batch = batch_of(exact.encoder, IMAGES)
        one, other = exact.describe_images(batch), fast.describe_images(batch)
        cosines = (one.descriptors * other.descriptors).sum(dim=1)
        assert other.descriptors.dtype == torch.float32
        assert cosines.min() > MIN_COSINE

    @NO_BFLOAT16
    @pytest.mark.slow
    def test_of_the_default_network(self) -> None:
        exact, fast = default_method("float32"), default_method("bfloat16")
        batch = batch_of(exact.encoder, crops(6, seed=2))
        one, other = exact.describe_images(batch), fast.describe_images(batch)
        cosines = (one.descriptors * other.descriptors).sum(dim=1)
        assert cosines.min() > MIN_COSINE


@pytest.mark.gpu
@NO_GPU
class TestGpu:
    def test_the_default_network_gives_the_same(self) -> None:
        cpu, gpu = default_method("float32"), default_method("float32", "cuda:0")
        batch = batch_of(cpu.encoder, crops(6, seed=2))
        one, other = cpu.describe_images(batch), gpu.describe_images(batch)
        assert (one.descriptors * other.descriptors.cpu()).sum(dim=1).min() > MIN_COSINE
