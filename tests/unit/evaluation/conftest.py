"""One small folder of images, its trials and its maps, made once for all tests that read them."""

from __future__ import annotations

import pytest

from evaluation.datasets.photos import read_trials
from evaluation.encoding import encode_images
from evaluation.trials import all_images
from tests.support.tiny_network import tiny_encoder
from tests.unit.evaluation.miniature import make_miniature, tell_nobody


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    return make_miniature(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="session")
def trials(miniature):
    return read_trials(miniature, "full")


@pytest.fixture(scope="session")
def encoded(trials, cache):
    return encode_images(all_images(trials), tiny_encoder(), cache, tell_nobody)
