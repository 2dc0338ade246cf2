"""Whatever a search looks like: an answer in time, in Elasticsearch's shape, and never a 500.

CAMSEARCH_TEST_CASES says how many are tried, CAMSEARCH_TEST_FIRST_CASE from which number on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import re
from collections import Counter

import pytest

from reranker.app import make_app
from tests.support.asgi import ask
from tests.support.clock import HANG_S
from tests.support.mutations import case

pytestmark = pytest.mark.slow

# Read here, since every test's environment is cleared of our variables.
CASES = int(os.environ.get("CAMSEARCH_TEST_CASES") or 500)
FIRST = int(os.environ.get("CAMSEARCH_TEST_FIRST_CASE") or 0)
EXPECTED = {200, 400, 404, 405, 406, 413, 415, 429, 501}
INSIDES = re.compile(r"Traceback|File \"|object at 0x|<class |site-packages|\.py\b")
WARNING = re.compile(r'299 Elasticsearch-\S+ "[^"]+"')


def searches(house):
    """What is right, and made wrong."""
    image, knn = house.image(3), {"field": "descriptor", "k": 15, "num_candidates": 21}

    def built(image, **more):
        return knn | {"query_vector_builder": {"camsearch": {"image": image, **more}}}

    def ranked(clause, **more):
        return {"retriever": {"camsearch": {"retriever": {"knn": clause}, **more}}}

    options = {"rank_window_size": 15, "rerank": {"regions": True, "classes": 3}}
    expand = {"expand": {"hits": 4, "alpha": 1.5}}
    matching = {
        "bool": {"filter": [{"term": {"meta.city": "Köln"}}, {"range": {"width": {"gte": 9}}}]}
    }
    return [
        {"knn": built(image), "size": 5, "_source": ["meta"], "fields": ["width"]},
        {"query": {"knn": built({"id": "03"}, box=[5, 5, 40, 40])}, "from": 2},
        ranked(built(image, box=[2, 2, 60, 40]), **options, **expand),
        ranked(built({"id": "05"})) | {"size": 15, "min_score": 0.2, "timeout": "5s"},
        ranked(built({"id": "05"}) | {"filter": matching}, rerank={"regions": False}),
        ranked(built(image) | {"field": "regions.vector"}, rerank={"by": "windows"}, **expand),
        {"knn": knn, "ext": {"camsearch": {"image": image, "rank_window_size": 4, **expand}}},
        {"knn": knn, "ext": {"camsearch": {"image": {"id": "07"}, "rerank": False, **expand}}},
        {"knn": knn | {"query_vector": [0.1] * 14}, **ranked(knn, image=image, rerank=True)},
        {"query": matching, "_source": False},
    ]


async def wrong(app, one):
    """What is wrong with the answer; None if nothing is."""
    async with asyncio.timeout(HANG_S):
        answer = await ask(app, one.method, one.target, one.body, one.headers)
    text = answer.body.decode()
    if answer.status not in EXPECTED:
        return answer.status, f"status {answer.status}: {text[:300]}"
    if INSIDES.search(text):
        return answer.status, f"it shows our insides: {text[:300]}"
    if any(not WARNING.fullmatch(value) for value in answer.all(b"warning")):
        return answer.status, f"a warning is none: {answer.all(b'warning')}"
    if answer.all(b"content-length") != [str(len(answer.body))]:
        return answer.status, "its length is wrong"
    return answer.status, _misshapen(answer.status, json.loads(text))


def _misshapen(status, body):
    if status == 200:
        return next((said for one in body.get("responses", ()) if (said := _of_one(one))), None)
    if body["status"] != status or not body["error"]:
        return f"an error in another shape: {body}"
    return None


def _of_one(answer):
    status = answer.get("status", 200)
    if status not in EXPECTED:
        return f"one of several has {status}: {answer}"
    return _misshapen(status, answer) if status != 200 else None


def test_no_search_breaks_us(house, caplog):
    """Each failure is named by its number: CAMSEARCH_TEST_FIRST_CASE=… CAMSEARCH_TEST_CASES=1."""
    statuses: Counter[int] = Counter()
    failed: dict[int, str] = {}
    valid = searches(house)

    async def all_of_them(app):
        for number in range(FIRST, FIRST + CASES):
            try:
                status, said = await wrong(app, case(number, valid))
            except Exception as error:  # noqa: BLE001 - reported with the case's number
                status, said = 0, repr(error)
            statuses[status] += 1
            if said is not None:
                failed[number] = said

    with house.service() as service:
        asyncio.run(all_of_them(make_app(service)))
    gc.collect()  # asyncio tells of errors that nobody took when their future is gone
    print(f"{CASES} cases: {dict(statuses)}")  # noqa: T201 - shown by `pytest -s`
    assert failed == {}, f"{len(failed)} of {CASES}"
    loud = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert not loud, f"{len(loud)} such as {loud[0]}"
    if CASES >= 400:  # the mutations reach all parts: some are still searches, many are none
        assert statuses[200] > CASES / 8
        assert statuses[400] > CASES / 5


def test_what_is_made_wrong_was_right(house):
    with house.service() as service:
        app = make_app(service)
        for body in searches(house)[:-2]:
            answer = asyncio.run(ask(app, "POST", "/images/_search", body))
            assert (answer.status, bool(answer.ids)) == (200, True), answer.body
