"""The plugin's hits, scores and boxes are those of the Python library."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from elasticsearch import ApiError

from es_mappings.elastic_client import connect
from es_mappings.windows import VECTOR
from galleries.documents import levels_of
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.services.server import wait_until
from tests.support.house import COUNT, KNN, REGIONS, first, found_ids, ranked

pytestmark = [pytest.mark.services, pytest.mark.slow]

R = 8
LONG = "x" * 300
# As many as the client has connections; a node of two processors has 4 threads for searches.
WAITING = 10


def described(house, number=0):
    return house.method.describe_query(house.rgb_image(number), REGIONS)


def expected(plugin, house, plan, number=0):
    """The hits of the Python library over the same index."""
    searcher = Searcher(house.method, plugin.gallery, house.store(), REGIONS)
    try:
        return searcher.search(described(house, number), plan).hits
    finally:
        searcher.close()


def check(found, hits):
    found = found["hits"]["hits"]
    assert [hit["_id"] for hit in found] == [hit.document.id for hit in hits]
    assert [hit["_score"] for hit in found] == pytest.approx(
        [(1 + hit.score) / 2 for hit in hits], abs=1e-5
    )
    for hit, true in zip(found, hits, strict=True):
        fields = hit.get("fields", {})
        assert fields.get("camsearch.box") == (None if true.box is None else true.box.as_list())
        assert fields.get("camsearch.first_rank") == (
            None if true.first_rank is None else [true.first_rank]
        )
        if true.first_score is not None:
            score = (1 + true.first_score) / 2
            assert fields["camsearch.first_score"] == pytest.approx([score], abs=1e-5)


def test_an_image_stands_for_its_vector(plugin, house):
    vector = described(house).descriptor.tolist()
    plain = plugin.search(knn=KNN | {"query_vector": vector}, size=COUNT)
    found = plugin.search(**first(house.image(0)))
    assert found["hits"] == plain["hits"]
    assert len(found["hits"]["hits"]) == COUNT
    [asked] = plugin.stub.asked
    assert asked.body == {"image": house.image(0)}
    assert asked.headers["Authorization"].startswith("ApiKey ")


def test_windows_are_searched_with_whole_numbers(plugin, house):
    levels = levels_of(described(house).descriptor.numpy()).tolist()
    knn = KNN | {"field": VECTOR}
    plain = plugin.search(knn=knn | {"query_vector": levels}, size=COUNT)
    builder = {"camsearch": {"image": house.image(0), "windows": True}}
    found = plugin.search(knn=knn | {"query_vector_builder": builder}, size=COUNT)
    assert found["hits"] == plain["hits"]


def test_an_indexed_image_needs_no_service(plugin, house):
    found = plugin.search(**ranked({"id": "03"}))
    assert found_ids(found)[0] == "03"
    assert plugin.stub.asked == []


def test_a_box_in_an_indexed_image_is_described_by_the_service(plugin, house):
    found = plugin.search(**first({"id": "03"}, box=[0, 0, 30, 30]))
    assert len(found["hits"]["hits"]) == COUNT
    [asked] = plugin.stub.asked
    assert asked.body["index"] == plugin.gallery.index
    assert asked.body["box"] == [0, 0, 30, 30]


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"window": R}, {}),
        ({"window": COUNT, "expand": 3}, {"expand": {"hits": 3}}),
        ({"window": R, "expand": 10, "alpha": 1.0}, {"expand": {"alpha": 1}}),
        ({"expand": 3}, {"rerank": False, "expand": {"hits": 3}}),
        ({"window": R, "by": "maps"}, {"rerank": {"by": "maps"}}),
    ],
    ids=["windows", "expanded", "alpha", "expanded alone", "maps"],
)
def test_hits_are_those_of_the_library(plugin, house, number, plan, words):
    size = plan.get("window", COUNT)
    body = ranked(house.image(number), rank_window_size=size, **words) | {"size": size}
    found = plugin.search(**body, source=False)
    check(found, expected(plugin, house, SearchPlan(k=size, **plan), number))
    # The knn and the retriever around it have one image.
    assert [one.path for one in plugin.stub.asked].count("/_camsearch/vector") == 1


def test_pages_filters_and_aggregations_are_elasticsearchs(plugin, house):
    body = ranked(house.image(0), rank_window_size=COUNT)
    everything = found_ids(plugin.search(**body))
    page = plugin.search(**body | {"from_": 3, "size": 4})
    assert found_ids(page) == everything[3:7]
    body["retriever"]["camsearch"]["filter"] = {"term": {"meta.city": "Köln"}}
    body |= {"aggs": {"cities": {"terms": {"field": "meta.city"}}}, "source": ["meta"]}
    found = plugin.search(**body)
    assert {hit["_source"]["meta"]["city"] for hit in found["hits"]["hits"]} == {"Köln"}
    [bucket] = found["aggregations"]["cities"]["buckets"]
    assert (bucket["key"], bucket["doc_count"]) == ("Köln", 7)


def test_hits_that_only_the_expansion_found_are_returned_and_counted(plugin, house):
    knn = first(house.image(0))["knn"] | {"k": COUNT}
    filters = {"terms": {"id": [f"{i:02d}" for i in range(6)]}}
    body = {"retriever": {"camsearch": {"retriever": {"knn": knn | {"filter": filters}}}}}
    body["retriever"]["camsearch"]["expand"] = {"hits": 2}
    found = plugin.search(**body)
    assert sorted(found_ids(found)) == [f"{i:02d}" for i in range(6)]
    assert found["hits"]["total"]["value"] == 6


def test_a_point_in_time_is_searched_and_asked_for_ids(plugin):
    pit = plugin.client.open_point_in_time(index="images", keep_alive="1m")["id"]
    found = plugin.client.search(pit={"id": pit}, **ranked({"id": "03"}))
    assert found["hits"]["hits"][0]["_id"] == "03"


def test_hits_of_a_text_search_without_windows_come_last(plugin, house):
    plugin.client.index(index="images-write", id="x", refresh=True, document=bare(house))
    try:
        inner = {"standard": {"query": {"terms": {"id": ["x", "01", "02"]}}}}
        words = {"retriever": inner, "image": house.image(0)}
        hits = plugin.search(retriever={"camsearch": words})["hits"]["hits"]
    finally:
        plugin.client.delete(index="images-write", id="x", refresh=True)
    assert [("camsearch.box" in hit["fields"]) for hit in hits] == [True, True, False]
    assert hits[2]["_id"] == "x"
    assert hits[2]["_score"] == pytest.approx(hits[1]["_score"], abs=1e-6)


def bare(house):
    document = next(iter(house.gallery.documents()))
    return {"id": "x", "uri": "x", "digest": "d", "descriptor": document.descriptor.tolist()}


def test_what_camsearch_did_not_make_is_refused(plugin, house):
    plugin.client.indices.create(index="other")
    try:
        status, reason = refusal(plugin, first(house.image(0)), index="other")
        assert status == 400
        assert reason.startswith("The search names no index that camsearch made")
    finally:
        plugin.client.indices.delete(index="other")


def refusal(plugin, body, **said):
    with pytest.raises(ApiError) as refused:
        plugin.search(**body, **said)
    return refused.value.status_code, refused.value.body["error"]["root_cause"][0]["reason"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"rerank": {"by": "pixels"}}, '"windows", "maps" or "images"'),
        ({"expand": {"hits": 0}}, "whole number from 1 to 100"),
        ({"rank_window_size": 1001}, "from 1 to 1000"),
        ({"rerank": {"by": "maps"}, "expand": True}, "goes with windows"),
        ({"box": [1, 2, 3, 4]}, "needs [camsearch.image]"),
        ({"image": {"id": "nowhere"}}, "not a document of [images"),
    ],
)
def test_words_that_are_not_valid_are_refused(plugin, house, words, sentence):
    status, reason = refusal(plugin, ranked(house.image(0), **words))
    assert status == (404 if "nowhere" in str(words) else 400)
    assert sentence in reason


def test_tasks_show_no_image_and_a_cancelled_search_ends(plugin):
    plugin.stub.answers.clear()
    failed = []

    def search():
        try:
            plugin.search(**ranked({"data": LONG}))
        except ApiError as error:
            failed.append(error.body["error"]["type"])

    running = threading.Thread(target=search)
    running.start()
    assert wait_until(lambda: len(plugin.stub.asked) == 1)
    answer = plugin.client.tasks.list(actions="*search", detailed=True)
    nodes = answer["nodes"].values()
    tasks = {k: t for n in nodes for k, t in n["tasks"].items() if "camsearch" in str(t)}
    assert LONG not in str(tasks)
    assert f"<{len(LONG)} characters>" in str(tasks)
    for task in tasks:
        plugin.client.tasks.cancel(task_id=task)
    running.join()  # while the service still does not answer
    assert failed == ["task_cancelled_exception"]


def test_a_slow_service_does_not_hold_up_other_searches(plugin, house):
    plugin.stub.answers.clear()
    with ThreadPoolExecutor(WAITING) as threads:
        waiting = [threads.submit(plugin.search, **first(house.image(0))) for _ in range(WAITING)]
        assert wait_until(lambda: len(plugin.stub.asked) == WAITING)
        with connect(plugin.url) as other:
            plain = other.search(index="images", query={"match_all": {}})
        assert plain["hits"]["total"]["value"] == COUNT
        assert not any(one.done() for one in waiting)
        plugin.stub.answers.set()
        assert all(len(one.result()["hits"]["hits"]) == COUNT for one in waiting)
