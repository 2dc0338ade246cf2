"""The proxy put together, with its settings where they belong."""

from __future__ import annotations

import asyncio
import threading

import pytest

from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan
from reranker.errors import DialectError
from tests.support.house import REGIONS, answered

KNN = {"field": "descriptor", "k": 9, "num_candidates": 50}


def body_of(image, **ours):
    return {"knn": KNN, "ext": {"camsearch": {"image": image, "rerank": {"by": "maps"}} | ours}}


def test_no_more_hits_are_encoded_again_than_the_settings_say(house):
    def encode(images):
        plan = IndexingPlan(batch_size=4)
        return encode_documents(images, house.method, plan)

    with house.service(features=None, encode=encode, settings={"serve_max_encoded": 4}) as service:
        _, (warning,) = answered(service, body_of(house.image(0)))
    assert "5 of 9 hits keep their first score" in warning


@pytest.mark.parametrize(
    ("settings", "ours", "expected"),
    [
        ({"serve_max_window": 7}, {"rank_window_size": 8}, "rank_window_size"),
        ({"serve_max_k": 8}, {}, r"k\] must be at most 8"),
        ({}, {"rerank": {"classes": 11}}, "classes"),
    ],
)
def test_limits_are_enforced(house, settings, ours, expected):
    with house.service(settings=settings) as service:
        body = body_of(house.image(0), **ours)
        with pytest.raises(DialectError, match=expected):
            answered(service, body)


def test_warming_up_runs_the_network_as_a_query_does(house, monkeypatch):
    encode, shapes = house.method.encoder.encode, []

    def noted(batch):
        shapes.append(tuple(batch.shape))
        return encode(batch)

    with house.service() as service:
        monkeypatch.setattr(house.method.encoder, "encode", noted)
        service.warm_up()
    assert shapes == [(1, 3, 64, 64)]


def test_the_queue_is_a_metric(house):
    with house.service() as service:

        def shown():
            return service.metrics.registry.get_sample_value(
                "camsearch_waiting", {"stage": "rerank"}
            )

        async def run():
            async with service.gate.passed(), service.gate.passed():
                waits = asyncio.create_task(service.gate.passed().__aenter__())
                await asyncio.sleep(0)
                assert shown() == 1
            await waits

        assert shown() == 0
        asyncio.run(run())
        assert shown() == 0


def test_closing_leaves_no_threads(house):
    before = set(threading.enumerate())
    with house.service() as service:
        answered(service, body_of(house.image(0)))
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) - before == set()


def test_regions_are_those_of_the_service(house):
    paper = REGIONS.model_copy(update={"whole_image": False, "min_side": 4000})
    with house.service(regions=paper) as service:
        answer, warnings = answered(service, body_of(house.image(0)))
    assert warnings == []
    assert not any("camsearch.box" in hit["fields"] for hit in answer["hits"]["hits"])
