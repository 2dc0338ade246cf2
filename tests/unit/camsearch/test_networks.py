"""A network from images to an answer: fit, index, search, re-rank and expand.

With random weights one of each kind (what each network alone must fulfil is tested in
tests/unit/descriptors/test_networks.py); and with real ones where the environment names a file for a network, as
``CAMSEARCH_TEST_VGG16_CAM_WEIGHTS=vgg16cam.safetensors``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from descriptors.backbones import NETWORKS, load_network, network_settings
from tests.support.images import shapes
from tests.support.random_networks import random_weights
from tests.unit.descriptors.test_networks import check_identity
from tests.unit.descriptors.test_timm_answers import NAMES as TIMM

pytestmark = pytest.mark.slow

RANDOM = ["mobilenet_v2", "timm:resnet10t", "timm:vit_tiny_patch16_224"]
OWN_WEIGHTS = [name for name, network in NETWORKS.items() if network.packaged_weights is None]
# Read as the module is: no variable of ours reaches a test.
REAL = {
    name: os.environ.get(f"CAMSEARCH_TEST_{name.removeprefix('timm:').upper()}_WEIGHTS")
    for name in (*OWN_WEIGHTS, *(f"timm:{name}" for name in TIMM))
}
SIDE, KNOWN = 140, 5
PAGE = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
RECIPES = re.findall(r"\| `(timm:\w+)` \|", PAGE.partition("## Recipes")[2])
COMMANDS = PAGE.partition("## Recipes")[2].split("```")[1].strip().splitlines()


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


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes(camsearch, tmp_path, monkeypatch, name):
    """The page's commands as they are, with small images and random weights."""
    monkeypatch.chdir(tmp_path)
    for folder, seed in (("photos", 0), ("photos-of-others", 100)):
        Path(folder).mkdir()
        for i in range(16):
            shapes(200, 150, seed + i).save(f"{folder}/{i}.png")
    shapes(200, 150, KNOWN).save("query.jpg", format="PNG")  # without loss
    state = torch.load(random_weights(name, tmp_path), weights_only=True)
    save_file({key: value.contiguous() for key, value in state.items()}, "dinov2.safetensors")
    own = {"timm:vit_small_patch14_reg4_dinov2": name}
    layers = ",".join(f"{layer.name}:6" for layer in network_settings(name).layers)
    small = ["--layers", layers, "--side", SIDE]
    for command in COMMANDS:
        asked = [own.get(word, word) for word in shlex.split(command)[1:]]
        said = camsearch(*asked, *([] if asked[0] == "search" else small))
        assert said.status == 0, said.err
    assert re.search(r"^ *1 .*photos/5\.png", said.out, re.MULTILINE), said.out
    page = Path("out.html").read_text()
    assert page.count('-heat" href="data:') > 10


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
        variable = f"CAMSEARCH_TEST_{name.removeprefix('timm:').upper()}_WEIGHTS"
        pytest.skip(f"NO {variable}: real {name} was NOT tried")
    loaded = load_network(name, Path(weights))
    if loaded.classifier is not None:
        check_identity(loaded)
    check_from_images_to_an_answer(camsearch, tmp_path, name, weights)
