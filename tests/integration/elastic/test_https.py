"""Elasticsearch behind TLS: the proxy's upstream and the workers' client check its certificate."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest
import trustme

from descriptors.errors import SettingsError
from es_mappings import indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_bulk import Bulk
from es_mappings.elastic_client import Server, connect
from galleries.errors import GalleryUnreachable
from reranker.errors import UpstreamUnreachable
from reranker.http.exchange import Answer, Request
from reranker.proxy.proxy import Proxy
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.integration.chaos.lines import Line, encrypted
from tests.support.asgi import JSON, ask
from tests.support.clock import HANG_S
from tests.support.documents import document, told_apart
from tests.support.wire import own_app, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    Test = Callable[[ElasticsearchUpstream], Awaitable["T"]]

T = TypeVar("T")

ABOUT = {"fingerprint": "a1b2c3d4" + "0" * 56, "dims": 4}
# More than goes in one piece, and more than one record of TLS.
LONG = "x" * (2 * 1024 * 1024)


@dataclass(frozen=True)
class Front:
    """The encrypted address of Elasticsearch, and what the client is told to trust."""

    line: Line
    ca_certs: str | None
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.line.port}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def saved(authority: trustme.CA, folder: Path) -> str:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(params=["127.0.0.1", "localhost"])
def front(
    request: pytest.FixtureRequest, authority: trustme.CA, elasticsearch_url: str, tmp_path: Path
) -> Iterator[Front]:
    with encrypted(elasticsearch_url, authority, "127.0.0.1", "localhost") as line:
        yield Front(line, saved(authority, tmp_path), request.param)


@pytest.fixture(params=["another authority", "another host", "another address", "none named"])
def untrusted(
    request: pytest.FixtureRequest, authority: trustme.CA, elasticsearch_url: str, tmp_path: Path
) -> Iterator[Front]:
    """Fronts that must not be talked to."""
    names = {
        "another host": ["127.0.0.1", "es.test"],
        "another address": ["127.0.0.2", "localhost"],
    }
    host = "localhost" if request.param == "another host" else "127.0.0.1"
    trusted = trustme.CA() if request.param == "another authority" else authority
    file = None if request.param == "none named" else saved(trusted, tmp_path)
    shown = names.get(request.param, ["127.0.0.1", "localhost"])
    with encrypted(elasticsearch_url, authority, *shown) as line:
        yield Front(line, file, host)


def with_upstream(front: Front, test: Test[T]) -> T:
    async def whole() -> T:
        settings = UpstreamSettings(front.url, HANG_S, HANG_S, HANG_S, front.ca_certs)
        upstream = ElasticsearchUpstream(settings)
        try:
            return await test(upstream)
        finally:
            await upstream.close()

    return run(whole())


async def not_visual(request: Request) -> Answer | None:
    return None


def passing(upstream: ElasticsearchUpstream) -> Proxy:
    return Proxy(upstream, own_app, not_visual)


def test_the_proxy_asks_and_passes_on(front: Front, name: str) -> None:
    async def test(upstream: ElasticsearchUpstream) -> None:
        proxy = passing(upstream)
        path = f"/{name}/_doc/1?refresh=true"
        written = await ask(proxy, "PUT", path, {"text": LONG})
        assert written.status == 201, written.body
        found = await ask(proxy, "GET", f"/{name}/_doc/1")
        assert found.json["_source"] == {"text": LONG}
        answer = await upstream.ask(Request("GET", f"/{name}/_count", headers=JSON))
        assert (answer.status, json.loads(answer.body)["count"]) == (200, 1)

    with_upstream(front, test)
    assert front.line.opened == 1  # and is kept


def test_a_worker_writes_and_reads(front: Front, name: str) -> None:
    with connect(front.url, ca_certs=front.ca_certs) as client:
        index = indices.create_gallery(client, name, ABOUT, 4, indices.IndexPlan(replicas=0))
        gallery = ElasticGallery(client, index, indices.rejects_index(name), refresh=True)
        gallery.put([document("a", meta={"text": LONG[:20_000]})])
        (found,) = gallery.documents()
    assert told_apart(document("a", meta={"text": LONG[:20_000]}), found) == []
    assert front.line.opened


def test_the_proxy_refuses_a_certificate_and_names_the_setting(untrusted: Front) -> None:
    async def asked(upstream: ElasticsearchUpstream) -> None:
        await upstream.ask(Request("GET", "/", headers=((b"authorization", b"ApiKey secret"),)))

    async def passed(upstream: ElasticsearchUpstream) -> str:
        answer = await ask(passing(upstream), "PUT", "/images/_doc/1", {"secret": 1})
        assert answer.status == 503
        return answer.reason

    with pytest.raises(UpstreamUnreachable) as caught:
        with_upstream(untrusted, asked)
    for reason in (caught.value.reason, with_upstream(untrusted, passed)):
        assert f"{untrusted.url} has a certificate that is not trusted" in reason
        assert "CAMSEARCH_CA_CERTS" in reason
        assert "secret" not in reason
    assert untrusted.line.opened == 0


def test_a_worker_refuses_a_certificate_and_names_the_setting(untrusted: Front) -> None:
    with connect(untrusted.url, api_key="secret", ca_certs=untrusted.ca_certs) as client:
        for act in (
            lambda: Server.of(client),
            lambda: indices.open_gallery(client, "images"),
            lambda: Bulk(client).write([b'{"delete":{"_index":"images","_id":"1"}}']),
        ):
            with pytest.raises(GalleryUnreachable) as caught:
                act()
            assert "has a certificate that is not trusted" in caught.value.reason
            assert "CAMSEARCH_CA_CERTS" in caught.value.reason
    assert untrusted.line.opened == 0


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    for make in (
        lambda: connect("https://localhost:9200", ca_certs=str(file)),
        lambda: ElasticsearchUpstream(UpstreamSettings("https://localhost", ca_file=str(file))),
    ):
        with pytest.raises(SettingsError, match=r"authority\.pem.*CAMSEARCH_CA_CERTS"):
            make()


def test_without_encryption_the_authority_is_not_asked_for(
    elasticsearch_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    with closing(connect(elasticsearch_url, ca_certs=saved(authority, tmp_path))) as client:
        assert Server.of(client).version >= (8, 19)
