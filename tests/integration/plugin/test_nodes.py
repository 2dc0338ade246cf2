"""Nodes that lack the plugin, trust another authority, or have no service at all."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import trustme
from elasticsearch import ApiError

from es_mappings.elastic_client import connect
from tests.integration.chaos.lines import encrypted
from tests.integration.plugin.building import plugin_node
from tests.integration.plugin.conftest import KEY, filled
from tests.integration.plugin.stub import served
from tests.services.plugin import skip_where_missing
from tests.services.recipe import free_port
from tests.support.house import COUNT, first, ranked

pytestmark = [pytest.mark.services, pytest.mark.slow]


@contextmanager
def node(settings, folder, said, **more):
    with skip_where_missing(settings), plugin_node(folder, settings, said, **more) as started:
        yield started


def refusal(client, body):
    with pytest.raises(ApiError) as refused:
        client.search(index="images", **body)
    return refused.value.status_code, refused.value.body["error"]["root_cause"][0]["reason"]


def test_a_retriever_is_refused_where_a_node_lacks_the_plugin(house, settings, tmp_path):
    ports = [free_port(), free_port()]
    cluster = {
        "discovery.type": "multi-node",
        "cluster.initial_master_nodes": ["with"],
        "discovery.seed_hosts": [f"127.0.0.1:{ports[0]}"],
    }
    having = cluster | {"node.name": "with", "transport.port": ports[0]}
    lacking = cluster | {"node.name": "without", "transport.port": ports[1]}
    lacking |= {"node.roles": ["data"]}
    with (
        served(house) as stub,
        node(settings, tmp_path / "a", having | {"camsearch.url": stub.url}) as one,
        connect(one.url) as client,
        node(settings, tmp_path / "b", lacking, installed=False),
    ):
        filled(client, house)
        status, reason = refusal(client, ranked(house.image(0)))
        assert status == 400
        assert "[without] lacks it" in reason
        # A vector is made before any other node is asked.
        found = client.search(index="images", **first(house.image(0)))
        assert (found["_shards"]["failed"], len(found["hits"]["hits"])) == (0, COUNT)


@pytest.mark.parametrize("trusted", [True, False], ids=["its authority", "another"])
def test_the_services_certificate_is_checked(house, settings, tmp_path, trusted):
    authority = trustme.CA()
    (tmp_path / "a" / "config").mkdir(parents=True)
    named = authority if trusted else trustme.CA()
    named.cert_pem.write_to_path(str(tmp_path / "a" / "config" / "authority.pem"))
    with served(house) as stub, encrypted(stub.url, authority, "127.0.0.1") as line:
        said = {"camsearch.url": f"https://127.0.0.1:{line.port}"}
        said |= {"camsearch.certificate_authorities": "authority.pem"}
        with (
            node(settings, tmp_path / "a", said, secrets={"camsearch.api_key": KEY}) as one,
            connect(one.url) as client,
        ):
            filled(client, house)
            if trusted:
                found = client.search(index="images", **first(house.image(0)))
                assert len(found["hits"]["hits"]) == COUNT
                assert stub.asked[0].headers["Authorization"] == f"ApiKey {KEY}"
            else:
                status, reason = refusal(client, first(house.image(0)))
                assert status == 503
                assert "camsearch.certificate_authorities" in reason
                assert stub.asked == []


def test_indexed_images_are_searched_without_a_service(house, settings, tmp_path):
    said = {"camsearch.url": f"http://127.0.0.1:{free_port()}"}
    with node(settings, tmp_path / "a", said) as one, connect(one.url) as client:
        filled(client, house)
        hits = client.search(index="images", **ranked({"id": "03"}))["hits"]["hits"]
        assert hits[0]["_id"] == "03"
        status, reason = refusal(client, first(house.image(0)))
        assert status == 503
        assert "cannot be reached" in reason
