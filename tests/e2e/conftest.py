"""Real galleries of fifteen photos, and proxies before them as processes of their own."""

from __future__ import annotations

import uuid
from contextlib import closing

import pytest

from camsearch.library import ImageLibrary
from descriptors.machine import Machine
from es_mappings import indices as galleries
from es_mappings.elastic_client import connect
from galleries.about import about_method
from galleries.features import FeatureStore
from indexer.pipeline import index_sources
from tests.e2e.clients import RUNNERS, Client, ClientMissing, RegistryUnreachable
from tests.e2e.photos import write_photos
from tests.e2e.serving import serving
from tests.services.elasticsearch import delete_indices
from tests.services.settings import ServiceSettings

# The same on every processor, so that what docs/dialect.md shows is what comes out.
MACHINE = Machine(precision="float32")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """The folder with the images and ``query.jpg``."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder)
    return folder


@pytest.fixture(scope="session")
def sources(photos):
    return write_photos(photos)


@pytest.fixture(scope="session")
def gallery_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="session")
def library(sources, gallery_folder):
    with ImageLibrary.create(gallery_folder, maps="maps", machine=MACHINE) as made:
        assert made.index(sources).indexed == len(sources)
        yield made


@pytest.fixture(scope="session")
def local_proxy(library, gallery_folder, tmp_path_factory):
    """`camsearch serve --gallery`."""
    log = tmp_path_factory.mktemp("local-proxy") / "log"
    with serving(log, "--gallery", str(gallery_folder)) as served:
        yield served


@pytest.fixture(scope="session")
def gallery(elasticsearch_url, sources, library, tmp_path_factory):
    """The name of a gallery in Elasticsearch, with the same images and kept maps."""
    prefix = f"test-{uuid.uuid4().hex[:12]}-"
    name, maps = f"{prefix}images", str(tmp_path_factory.mktemp("maps"))
    method = library.method
    about = about_method(method, library.regions, maps=maps)
    with connect(elasticsearch_url) as client:
        plan = galleries.IndexPlan(replicas=0)
        galleries.create_gallery(client, name, about, method.settings.dims, plan)
        opened = galleries.open_gallery(client, name)
        with closing(FeatureStore(maps, method.fingerprint())) as features:
            done = index_sources(sources, method, opened, features)
        assert done.indexed == len(sources)
        client.indices.refresh(index=name)
        yield name
    delete_indices(elasticsearch_url, prefix)


@pytest.fixture(scope="session")
def proxy(elasticsearch_url, gallery, tmp_path_factory):
    """`camsearch serve --elasticsearch`."""
    log = tmp_path_factory.mktemp("proxy") / "log"
    with serving(log, "--elasticsearch", elasticsearch_url, "--index", gallery) as served:
        yield served


@pytest.fixture(scope="session")
def had(request):
    """A client by its name, installed if need be.

    Missing ones are skipped, and fail in CI, unless it is their registry that does not answer.
    """
    ci = ServiceSettings.from_environment().ci
    found: dict[str, Client | ClientMissing] = {}

    def client(name):
        if name not in found:
            try:
                found[name] = RUNNERS[name]()
            except ClientMissing as missing:
                found[name] = missing
        one = found[name]
        if isinstance(one, Client):
            return one
        if ci and not isinstance(one, RegistryUnreachable):
            pytest.fail(f"CI is set, so this is no reason to skip: {one}", pytrace=False)
        pytest.skip(str(one))

    return client
