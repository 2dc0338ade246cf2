"""The official clients, unchanged: through the proxy they get what they get directly."""

from __future__ import annotations

import base64

import pytest

from tests.e2e.clients import CLIENTS
from tests.e2e.photos import query_photo

pytestmark = pytest.mark.services


@pytest.mark.parametrize("name", CLIENTS)
def test_an_application_notices_no_difference(had, elasticsearch_url, proxy, index_prefix, name):
    client, index = had(name), f"{index_prefix}plain"
    direct = client.run("plain", elasticsearch_url, index)
    through = client.run("plain", proxy.url, index)
    assert len(direct) > 20
    assert {step: through.get(step) for step in direct} == direct


IMAGE = {"data": base64.b64encode(query_photo()).decode()}
KNN = {"field": "descriptor", "k": 6, "num_candidates": 15}


def built(image, **more):
    return KNN | {"query_vector_builder": {"camsearch": {"image": image, **more}}}


SEARCHES = {
    "first": {"knn": built(IMAGE), "_source": ["meta"], "size": 4},
    "ranked": {"retriever": {"camsearch": {"retriever": {"knn": built(IMAGE)}}}},
    "by id": {"retriever": {"camsearch": {"retriever": {"knn": built({"id": "coffee-1"})}}}},
    "in a box": {"query": {"knn": built(IMAGE, box=[20, 10, 200, 150])}, "from": 1},
    "typed": {
        "knn": KNN,
        "ext": {"camsearch": {"image": IMAGE, "rank_window_size": 3, "expand": {"hits": 2}}},
    },
    "late": {
        "retriever": {"camsearch": {"retriever": {"knn": built({"id": "cat-1"})}}},
        "timeout": "1nanos",
    },
    "several": [{}, {"knn": built(IMAGE), "size": 2}, {}, {"size": 0}, {}, {"knn": built({})}],
    "refused": {"knn": built({"url": "http://localhost/x.jpg"})},
    "wrong": {"retriever": {"camsearch": {"rank_windows": 3}}},
    "not there": {"knn": built({"id": "no such image"})},
}


def stable(value):
    if isinstance(value, dict):
        return {key: stable(one) for key, one in value.items() if key != "took"}
    return [stable(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def expected(had, proxy, gallery):
    return had("python-9").run("searches", proxy.url, gallery, said=SEARCHES)


def told_late(answer):
    """A deadline that has passed, said by Elasticsearch (its clock ticks at times) or by us."""
    return answer["timed_out"] or any("timed out" in one for one in answer["warnings"])


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def test_images_are_found(expected):
    for name in ("first", "ranked", "typed"):
        assert sorted(ids(expected[name])[:3]) == ["cat-1", "cat-2", "cat-3"], name
    assert ids(expected["by id"])[0] == "coffee-1"
    assert expected["ranked"]["hits"]["hits"][0]["fields"]["camsearch.first_rank"]
    assert ids(expected["several"]["responses"][0]) == ids(expected["first"])[:2]
    assert [one["status"] for one in expected["several"]["responses"]] == [200, 200, 400]
    assert told_late(expected["late"])
    assert {name: expected[name]["status"] for name in ("refused", "wrong", "not there")} == {
        "refused": 400,
        "wrong": 400,
        "not there": 404,
    }


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "python-9"])
def test_every_client_gets_the_same_images(had, proxy, gallery, expected, name):
    found = had(name).run("searches", proxy.url, gallery, said=SEARCHES)
    assert told_late(found.pop("late"))
    assert stable(found) == stable({name: one for name, one in expected.items() if name != "late"})
