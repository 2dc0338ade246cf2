"""A network from images to an answer: fit, index, search, re-rank and expand.

With random weights one of each kind (what each network alone must fulfil is tested in
tests/unit/descriptors/test_networks.py); and with real ones where the environment names a file for a network, as
``CAMSEARCH_TEST_VGG16_CAM_WEIGHTS=vgg16cam.safetensors``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from descriptors.backbones import NETWORKS, load_network, network_settings
from tests.support.images import shapes
from tests.support.random_networks import random_weights
from tests.unit.descriptors.test_networks import check_identity

pytestmark = pytest.mark.slow

RANDOM = ["mobilenet_v2", "timm:resnet10t"]
# Read as the module is: no variable of ours reaches a test.
REAL = {
    name: os.environ.get(f"CAMSEARCH_TEST_{name.upper()}_WEIGHTS")
    for name in NETWORKS
    if NETWORKS[name].packaged_weights is None
}
SIDE, KNOWN = 96, 5


def images_in(folder, count):
    place = folder / "images"
    place.mkdir()
    for i in range(count):
        shapes(200, 150, seed=i).save(place / f"{i}.png")
    return place


def check_from_images_to_an_answer(camsearch, folder, name, weights, preset="default"):
    """An image finds itself at every stage, re-ranked by its windows, or from kept maps alone.

    More cannot be asked of random weights, and of a whitening fitted on a dozen images.
    """
    # As many images as the whitening asks for: the paper takes one class vector of each.
    count, dims = (12, 12) if preset == "default" else (24, 6)
    layers = [one.name for one in network_settings(name, preset).layers]
    options = ["--network", name, "--preset", preset, "--side", SIDE, "--weights", weights]
    options += ["--layers", ",".join(f"{layer}:{dims}" for layer in layers)]
    options += ["--precision", "float32"]
    images = images_in(folder, count)
    whitening, gallery, query = folder / "w.safetensors", folder / "gallery", folder / "q.png"
    said = camsearch("fit", images, "--out", whitening, *options)
    assert said.status == 0, said.err
    options += ["--maps", "maps", "--whitening", whitening]
    said = camsearch("index", images, "-g", gallery, *options)
    assert said.status == 0, said.err
    assert f"{count} indexed, 0 unchanged" in said.err
    shapes(200, 150, seed=KNOWN).save(query)
    for path in images.iterdir():
        path.unlink()
    asked = ["search", query, "-g", gallery, "--precision", "float32", "--json", "-k", 6]
    by = [["--by", "maps"]] + [["--by", "windows"]] * (preset == "default")
    again = [[*one, "--expand", 1] for one in by]
    for more in (["--rerank", 0], *by, *again):
        said = camsearch(*asked, *more)
        assert said.status == 0, said.err
        answer = json.loads(said.out)
        assert not answer["warnings"]
        assert len(answer["hits"]) == 6
        assert answer["hits"][0]["uri"].endswith(f"/{KNOWN}.png")
        assert answer["first"][0]["score"] == pytest.approx(1, abs=1e-3)
    x0, y0, x1, y1 = answer["hits"][0]["box"]
    assert 0 <= x0 < x1 <= 200
    assert 0 <= y0 < y1 <= 150


@pytest.mark.parametrize("name", RANDOM)
def test_with_random_weights(camsearch, tmp_path, name):
    weights = random_weights(name, tmp_path)
    check_from_images_to_an_answer(camsearch, tmp_path, name, weights)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_with_the_packaged_weights_and_whitening(camsearch, tmp_path, name):
    images, gallery = images_in(tmp_path, 3), tmp_path / "gallery"
    said = camsearch("index", images, "-g", gallery, "--network", name)
    assert said.status == 0, said.err
    said = camsearch("search", images / "1.png", "-g", gallery, "--json")
    assert said.status == 0, said.err
    assert json.loads(said.out)["hits"][0]["uri"].endswith("/1.png")


def test_vgg_16_cam_by_the_paper(camsearch, tmp_path):
    """The published method: another evidence than feature layer, sides as they come."""
    weights = random_weights("vgg16_cam", tmp_path)
    check_from_images_to_an_answer(camsearch, tmp_path, "vgg16_cam", weights, "paper")


@pytest.mark.parametrize("name", sorted(REAL))
def test_with_real_weights(camsearch, tmp_path, name):
    weights = REAL[name]
    if weights is None:
        pytest.skip(f"NO CAMSEARCH_TEST_{name.upper()}_WEIGHTS: real {name} was NOT tried")
    check_identity(load_network(name, Path(weights)))
    check_from_images_to_an_answer(camsearch, tmp_path, name, weights)
