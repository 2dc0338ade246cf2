"""A node with the plugin, an index of made images in it, and the seam to the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from es_mappings import indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from tests.integration.plugin.building import plugin_node
from tests.integration.plugin.stub import served
from tests.services.plugin import skip_where_missing
from tests.support.clock import HANG_S
from tests.support.house import REGIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elasticsearch import Elasticsearch

    from tests.integration.plugin.stub import Stub
    from tests.services.settings import ServiceSettings
    from tests.support.house import House

INDEX = "images"
KEY = "c2VjcmV0OnNlY3JldA=="


@dataclass(frozen=True)
class Plugin:
    """What the tests ask."""

    url: str
    client: Elasticsearch
    stub: Stub
    gallery: ElasticGallery

    def search(self, index: str = INDEX, **said: Any) -> dict[str, Any]:
        return dict(self.client.search(index=index, **said).body)


@pytest.fixture(scope="session")
def settings(_service_settings: ServiceSettings) -> ServiceSettings:
    """Which Elasticsearch, and where it is kept."""
    return _service_settings


@pytest.fixture(scope="module")
def plugin(
    house: House, settings: ServiceSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plugin]:
    """One node for a module, three shards."""
    with served(house) as stub:
        said = {"camsearch.url": stub.url, "camsearch.timeout": f"{HANG_S:.0f}s"}
        folder = tmp_path_factory.mktemp("node")
        secrets = {"camsearch.api_key": KEY}
        with (
            skip_where_missing(settings),
            plugin_node(folder, settings, said, secrets) as node,
            connect(node.url) as client,
        ):
            yield Plugin(node.url, client, stub, filled(client, house))


def filled(client: Elasticsearch, house: House, name: str = INDEX) -> ElasticGallery:
    """A gallery of the images, on three shards."""
    about = {
        "fingerprint": house.method.fingerprint(),
        "dims": house.method.settings.dims,
        "method": house.method.settings.model_dump(mode="json"),
        "regions": REGIONS.model_dump(mode="json"),
    }
    plan = indices.IndexPlan(shards=3, graph="flat", replicas=0)
    index = indices.create_gallery(client, name, about, about["dims"], plan)
    gallery = ElasticGallery(client, index, indices.rejects_index(name), refresh=True)
    gallery.put(list(house.gallery.documents()))
    return gallery


@pytest.fixture(autouse=True)
def _as_the_service(request: pytest.FixtureRequest) -> Iterator[None]:
    """The stub of a module's node answers, and lets go of requests that waited."""
    stub = request.getfixturevalue("plugin").stub if "plugin" in request.fixturenames else None
    if stub is not None:
        stub.reset()
    yield
    if stub is not None:
        stub.reset()
