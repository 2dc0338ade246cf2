"""A fast method, and stages to play on. Workers here are real processes: see `processes`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest

from camsearch.commands.method_options import method_settings
from camsearch.settings import CommandSettings
from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.machine import Machine, method_of
from descriptors.settings import RegionSettings
from descriptors.whitening import WhiteningFit
from es_mappings.elastic_client import connect
from es_mappings.indices import IndexPlan, create_gallery
from galleries.about import about_method
from indexer.sources import Source
from tests.integration.chaos.stage import VISIBILITY_S, Stage
from tests.support.images import collection, encoded
from tests.support.tiny_network import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from descriptors.method import Method
    from descriptors.settings import MethodSettings

    NewStage = Callable[..., Stage]

LAYERS = "mid:16,last:16"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each starts processes, and waits for time-outs."""
    for item in items:
        if "integration/chaos" in item.path.as_posix():
            item.add_marker("slow")


@dataclass(frozen=True)
class FastMethod:
    """A method of the default network, on images so small that it takes milliseconds."""

    side: int
    whitening: Path
    method: Method


@pytest.fixture(scope="session")
def fast_method(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], FastMethod]:
    """Makes the method of a side, with a whitening fitted on made images."""
    folder = tmp_path_factory.mktemp("whitening")

    @cache
    def make(side: int) -> FastMethod:
        settings: MethodSettings = method_settings("default", None, LAYERS, side=side)
        encoder = Encoder(load_network(settings.network), settings)
        fit = WhiteningFit(encoder)
        fit.add(encoder.encode(batch_of(encoder, collection(32, side, side, seed=7))))
        path = folder / f"side-{side}.safetensors"
        fit.fit("made images of the tests").save(path)
        return FastMethod(side, path, method_of(settings, path, None, Machine()))

    return make


@pytest.fixture
def new_stage(
    tmp_path: Path, index_prefix: str, fast_method: Callable[[int], FastMethod]
) -> Iterator[NewStage]:
    """Makes a gallery and a manifest of tiny images; ends every process of it after the test."""
    stages: list[Stage] = []

    def make(
        elasticsearch: str, broker: str, *, images: int = 40, maps: str = "", **changed: int
    ) -> Stage:
        fast = fast_method(64)
        chosen = {"chunk": 4, "visibility_timeout": VISIBILITY_S} | changed
        settings = CommandSettings(
            elasticsearch=elasticsearch, broker=broker, images=f"{index_prefix}g", **chosen
        )
        maps = maps or str(tmp_path / "maps")
        about = about_method(fast.method, RegionSettings(), whitening=fast.whitening, maps=maps)
        client = connect(elasticsearch)
        create_gallery(client, settings.images, about, about["dims"], IndexPlan("hnsw", replicas=0))
        client.close()
        sources = list(_manifest(tmp_path / "images", images))
        stages.append(Stage(settings, tmp_path, maps, sources))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


def _manifest(folder: Path, count: int) -> Iterator[Source]:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(collection(count, seed=3)):
        path = folder / f"{number:03d}.jpg"
        path.write_bytes(encoded(image, "JPEG"))
        yield Source(f"p-{number:03d}", str(path), {"number": number})
