"""What a search says when the service does not answer as it should."""

from __future__ import annotations

import json

import pytest
from elasticsearch import ElasticsearchWarning

from tests.integration.plugin.stub import refused
from tests.integration.plugin.test_searching import refusal
from tests.support.house import first, ranked

pytestmark = [pytest.mark.services, pytest.mark.slow]

OTHER = {"version": 1, "fingerprint": "f" * 64, "vector": [1.0]}


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (refused(400, "It is cut off."), 400, "It is cut off."),
        (refused(429, "The queue is full."), 429, "The queue is full."),
        (refused(503, "Elasticsearch does not answer."), 503, "Elasticsearch does not answer."),
        (refused(500, "A fault."), 502, "answered 500"),
        ((200, b"<html>"), 502, "without JSON"),
        ((200, b"{}"), 502, "in version null"),
        ((200, json.dumps(OTHER).encode()), 409, "f" * 16),
        ((200, b"{" + b" " * (5 << 20) + b"}"), 502, "more than 4194304 bytes"),
    ],
    ids=["image", "queue", "upstream", "fault", "html", "version", "fingerprint", "long"],
)
def test_an_answer_that_is_no_vector(plugin, house, answer, status, sentence):
    plugin.stub.instead = lambda asked: answer
    for body in (first(house.image(0)), ranked(house.image(0))):
        found, reason = refusal(plugin, body)
        assert found == status
        assert sentence in reason


def test_an_answer_without_a_vector(plugin, house):
    said = {"version": 1, "fingerprint": house.method.fingerprint(), "vector": ["1"]}
    plugin.stub.instead = lambda asked: (200, json.dumps(said).encode())
    assert refusal(plugin, first(house.image(0))) == (
        502,
        "The camsearch service answered without a vector: see camsearch.url.",
    )


def test_a_key_that_the_service_refuses(plugin, house):
    plugin.stub.key = "another"
    status, reason = refusal(plugin, first(house.image(0)))
    assert status == 502
    assert "camsearch.api_key" in reason


def test_no_answer_in_time(plugin, house):
    plugin.stub.answers.clear()
    plugin.client.cluster.put_settings(persistent={"camsearch.timeout": "50ms"})
    try:
        status, reason = refusal(plugin, first(house.image(0)))
    finally:
        plugin.client.cluster.put_settings(persistent={"camsearch.timeout": None})
    assert status == 504
    assert "did not answer within 50 ms" in reason


def test_hits_that_the_service_cannot_compare_keep_their_score(plugin, house):
    said = {"version": 1, "fingerprint": house.method.fingerprint()}

    def instead(asked):
        if not asked.path.endswith("rank"):
            return None
        answer = said | {"scores": {"05": 1.0}, "boxes": {"05": [0, 0.5, 9, 9]}, "missing": ["06"]}
        return 200, json.dumps(answer).encode()

    plugin.stub.instead = instead
    with pytest.warns(ElasticsearchWarning, match="1 of 21 hits keep their first score"):
        hits = plugin.search(**ranked(house.image(0), rerank={"by": "maps"}))["hits"]["hits"]
    # The query's own image keeps its first score, which is as high.
    assert {hit["_id"] for hit in hits[:2]} == {"00", "05"}
    boxes = {hit["_id"]: hit["fields"].get("camsearch.box") for hit in hits}
    assert {id_: box for id_, box in boxes.items() if box} == {"05": [0, 0.5, 9, 9]}
