"""Our own endpoints over a real Elasticsearch."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager

import httpx
import pytest

from es_mappings import indices
from es_mappings.about import about_method
from es_mappings.elastic_client import connect
from es_mappings.features import FeatureStore
from indexer.pipeline import index_pictures
from indexer.sources import Source
from reranker.app import make_app
from reranker.passing.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.tiny_network import tiny_method
from tests.support.tiny_service import COUNT, REGIONS, make_gallery, tiny_service

pytestmark = pytest.mark.services


@pytest.fixture
def folder(tmp_path):
    make_gallery(tmp_path)
    return tmp_path


@pytest.fixture
def images(elasticsearch_url, index_prefix, folder):
    """The pictures of the folder, in Elasticsearch."""
    method, name = tiny_method(), f"{index_prefix}images"
    sources = [Source(f"{i}/a.png", str(folder / str(i) / "a.png"), {}) for i in range(COUNT)]
    store = FeatureStore(str(folder / "maps"), method.fingerprint())
    with connect(elasticsearch_url) as client, closing(store):
        about = about_method(method, REGIONS)
        indices.create(client, name, about, method.settings.dims, indices.IndexPlan(replicas=0))
        index_pictures(sources, method, indices.open_gallery(client, name), store)
        client.indices.refresh(index=name)
    return name


@contextmanager
def serving(folder, url, images, **settings):
    upstream = ElasticsearchUpstream(UpstreamSettings(url))
    with tiny_service(folder, parts={"upstream": upstream, "index": images}, **settings) as made:
        yield make_app(made), upstream


def asked(app, upstream, *requests):
    """The answers, in one loop, as connections live in one."""

    async def all_of_them():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            found = [await client.request(how, path, **said) for how, path, said in requests]
        await upstream.close()
        return found

    return asyncio.run(all_of_them())


def test_a_gallery_in_elasticsearch_is_ready_explained_and_shown(folder, elasticsearch_url, images):
    body = {"id": "3/a.png", "image": {"id": "3/a.png"}, "regions": False}
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        ready, explained, small, page = asked(
            app,
            upstream,
            ("GET", "/_camsearch/health/ready", {}),
            ("POST", "/_camsearch/explain", {"json": body}),
            ("GET", "/_camsearch/thumbnails/3%2Fa.png", {}),
            ("GET", "/_camsearch/", {}),
        )
    assert ready.status_code == 200, ready.text
    assert f"[{images}" in ready.json()["checks"][0]["said"]
    assert explained.status_code == 200, explained.text
    assert explained.json()["cosine"] == pytest.approx(1, abs=1e-3)
    assert explained.json()["first_cosine"] == pytest.approx(1, abs=1e-2)
    assert (small.status_code, small.headers["content-type"]) == (200, "image/jpeg")
    assert f"<dd>{COUNT}</dd>" in page.text


def test_an_index_that_is_not_there_is_not_ready(folder, elasticsearch_url, index_prefix):
    with serving(folder, elasticsearch_url, f"{index_prefix}none") as (app, upstream):
        ready, small = asked(
            app,
            upstream,
            ("GET", "/_camsearch/health/ready", {}),
            ("GET", "/_camsearch/thumbnails/3%2Fa.png", {}),
        )
    assert (ready.status_code, ready.json()["checks"][0]["name"]) == (503, "index")
    assert (small.status_code, small.json()["status"]) == (404, 404)
    assert small.json()["error"]["type"] == "index_not_found_exception"


def test_an_elasticsearch_that_is_away_is_not_ready(folder):
    with serving(folder, "http://127.0.0.1:9", "images") as (app, upstream):
        ready, live = asked(
            app,
            upstream,
            ("GET", "/_camsearch/health/ready", {}),
            ("GET", "/_camsearch/health/live", {}),
        )
    assert (ready.status_code, live.status_code) == (503, 200)
