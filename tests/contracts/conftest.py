"""The galleries that keep the contract. A new kind of gallery is one more factory here."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.indices import IndexPlan, create_gallery, drop_gallery, rejects_index
from galleries.local import LocalGallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Gallery = LocalGallery | ElasticGallery
    NewGallery = Callable[..., Gallery]

FINGERPRINT = "f" * 64


@pytest.fixture(scope="module")
def new_local_gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewGallery]:
    opened: list[Gallery] = []

    def make(dims: int, windows: int = 0) -> Gallery:
        folder, about = tmp_path_factory.mktemp("gallery"), {"method": {"windows": windows}}
        opened.append(LocalGallery.create(folder, dims, FINGERPRINT, about))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def new_elastic_gallery(elasticsearch_url: str) -> Iterator[NewGallery]:
    client = connect(elasticsearch_url)
    names: list[str] = []

    def make(dims: int, windows: int = 0) -> Gallery:
        names.append(f"contract-{uuid.uuid4().hex[:12]}")
        method = {"windows": windows}
        about = {"fingerprint": FINGERPRINT, "dims": dims, "method": method}
        # flat keeps vectors as they are and looks at each: the contract asks for float64's order.
        plan = IndexPlan(graph="flat", replicas=0)
        index = create_gallery(client, names[-1], about, dims, plan)
        return ElasticGallery(client, index, rejects_index(names[-1]), refresh=True)

    yield make
    for name in names:
        drop_gallery(client, name)
    client.close()


@pytest.fixture(
    params=["local", pytest.param("elasticsearch", marks=pytest.mark.services)], scope="module"
)
def new_gallery(request: pytest.FixtureRequest) -> NewGallery:
    """Makes empty galleries for descriptors of so many dimensions, and images of so many windows."""
    names = {"local": "new_local_gallery", "elasticsearch": "new_elastic_gallery"}
    made: NewGallery = request.getfixturevalue(names[request.param])
    return made


@pytest.fixture
def gallery(new_gallery: NewGallery) -> Gallery:
    """An empty gallery for the documents of `tests.support.documents`."""
    return new_gallery(4)
