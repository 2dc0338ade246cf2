"""Searches in windows, through the proxy's parts: as brute force finds, in a folder and an index."""

from __future__ import annotations

import asyncio
from contextlib import closing

import numpy as np
import orjson
import pytest

from descriptors.arrays import Box
from descriptors.expansion import combined_query
from es_mappings import indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from galleries.documents import levels_of
from reranker.errors import OneImageOnly
from reranker.folder import LocalUpstream
from reranker.http.exchange import Request
from reranker.matching import Matcher
from reranker.pipeline import Searcher
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from reranker.ranking import SearchPlan
from tests.support.clock import HANG_S
from tests.support.house import COUNT, JSON, REGIONS, Scripted, found_ids

R = 8
KNN = {"field": "descriptor", "k": COUNT, "num_candidates": COUNT}


@pytest.fixture(params=["folder", pytest.param("elasticsearch", marks=pytest.mark.services)])
def upstream(request, house):
    if request.param == "folder":
        return Scripted(LocalUpstream(house.gallery))
    url = request.getfixturevalue("elasticsearch_url")
    name = f"{request.getfixturevalue('index_prefix')}windows"
    about = {
        "fingerprint": house.method.fingerprint(),
        "dims": house.method.settings.dims,
        "method": house.method.settings.model_dump(mode="json"),
    }
    with connect(url) as client:
        plan = indices.IndexPlan(graph="flat", replicas=0)
        index = indices.create_gallery(client, name, about, about["dims"], plan)
        gallery = ElasticGallery(client, index, indices.rejects_index(name), refresh=True)
        gallery.put(list(house.gallery.documents()))
    made = Scripted(ElasticsearchUpstream(UpstreamSettings(url)))
    made.index = name
    return made


def searched(house, upstream, body, query=""):
    """An answer's JSON and the searches that were asked."""

    async def run(service):
        try:
            path = f"/{getattr(upstream, 'index', 'images')}/_search"
            return await service.visual(Request("POST", path, query, JSON, orjson.dumps(body)))
        finally:
            await upstream.other.close()

    upstream.asked.clear()
    with house.service(upstream, settings={"serve_timeout": HANG_S}) as service:
        answer = asyncio.run(run(service))
    assert answer.status == 200, answer.body
    assert not [value for name, value in answer.headers if name == b"warning"]
    return orjson.loads(answer.body)


def built(house, number=0, **more):
    builder = {"camsearch": {"image": house.image(number)}}
    return KNN | {"query_vector_builder": builder} | more


def cosines(house, number=0):
    """Of the best window of each image, with the query as 8-bit levels; and its box."""
    query = house.method.describe_query(house.rgb_image(number), REGIONS).descriptor.numpy()
    levels = levels_of(query).astype(np.float32)
    levels /= np.linalg.norm(levels)
    return {
        one.id: (float(one.windows.cosines(levels).max()), one.windows.best(levels).as_list())
        for one in house.gallery.documents()
    }


def best_first(true, ids):
    return sorted(ids, key=lambda id_: (-round(true[id_][0], 5), id_))


def check(true, hits, *, boxes=True):
    for hit in hits:
        cosine, box = true[hit["_id"]]
        assert hit["_score"] == pytest.approx((1 + cosine) / 2, abs=1e-5)
        if boxes:
            assert hit["fields"]["camsearch.box"] == box


def test_a_first_search_in_windows_brings_boxes_of_its_page(house, upstream):
    body = {"knn": built(house, field="regions.vector"), "size": 5, "from": 2, "_source": False}
    found, true = searched(house, upstream, body), cosines(house)
    assert found_ids(found) == best_first(true, true)[2:7]
    check(true, found["hits"]["hits"])
    first, boxes = upstream.bodies
    assert "inner_hits" not in first["knn"]
    assert sorted(boxes["knn"]["filter"]["ids"]["values"]) == sorted(found_ids(found))


def test_hits_are_re_ranked_by_windows_on_one_copy_with_boxes_of_the_page(house, upstream):
    plain = searched(house, upstream, {"knn": built(house), "size": COUNT})
    first = found_ids(plain)
    inner = {"retriever": {"knn": built(house)}, "rank_window_size": R}
    body = {"retriever": {"camsearch": inner}, "from": 2, "size": 3}
    found, true = searched(house, upstream, body), cosines(house)
    assert found_ids(found) == best_first(true, first[:R])[2:5]
    check(true, found["hits"]["hits"])
    assert all(hit["fields"]["camsearch.first_rank"] for hit in found["hits"]["hits"])
    _, compared, boxes = upstream.bodies
    assert sorted(compared["knn"]["filter"]["ids"]["values"]) == sorted(first[:R])
    assert "inner_hits" not in compared["knn"]
    assert sorted(boxes["knn"]["filter"]["ids"]["values"]) == sorted(found_ids(found))
    queries = {one.query for one in upstream.asked if one.path.endswith("_search")}
    assert len(queries) == 1
    assert queries.pop().startswith("preference=")


@pytest.mark.parametrize("ranked", [False, True])
def test_boxes_are_read_only_where_filter_path_keeps_them(house, upstream, ranked):
    knn = built(house, field="regions.vector")
    body = {"retriever": {"camsearch": {"retriever": {"knn": knn}}}} if ranked else {"knn": knn}
    body |= {"size": 3, "_source": False}
    whole = searched(house, upstream, body)["hits"]["hits"]
    asked = len(upstream.bodies)
    found = searched(house, upstream, body, "filter_path=hits.hits.fields.camsearch*")
    boxes = [hit["fields"]["camsearch.box"] for hit in found["hits"]["hits"]]
    assert boxes == [hit["fields"]["camsearch.box"] for hit in whole]
    assert len(upstream.bodies) == asked
    found = searched(house, upstream, body, "filter_path=hits.hits._id")
    assert found == {"hits": {"hits": [{"_id": hit["_id"]} for hit in whole]}}
    assert len(upstream.bodies) == asked - 1


def test_filters_hold_and_the_callers_preference_is_used_by_every_stage(house, upstream):
    knn = built(house, filter={"term": {"meta.city": "Köln"}})
    body = {"retriever": {"camsearch": {"retriever": {"knn": knn}, "expand": {"hits": 2}}}}
    body |= {"size": COUNT}
    found = searched(house, upstream, body, "preference=me")
    cologne = {one.id for one in house.gallery.documents() if one.meta["city"] == "Köln"}
    assert set(found_ids(found)) == cologne
    asked = [one.query for one in upstream.asked if one.path.endswith("_search")]
    assert asked == ["preference=me"] * 7  # first, windows, vectors, second, windows, page, boxes


def test_an_expanded_query_is_compared_with_windows_as_in_python(house, upstream):
    inner = {"retriever": {"knn": built(house)}, "rank_window_size": R, "expand": {"hits": 3}}
    body = {"retriever": {"camsearch": inner}, "from": 1, "size": 4, "_source": ["uri"]}
    found = searched(house, upstream, body)["hits"]["hits"]
    searcher = Searcher(house.method, house.gallery, None, REGIONS)
    query = house.method.describe_query(house.rgb_image(0), REGIONS)
    ranking = searcher.search(query, SearchPlan(k=5, window=R, expand=3))
    searcher.close()
    same = [(hit.document.id, hit.document.uri) for hit in ranking.hits[1:]]
    assert [(hit["_id"], hit["_source"]["uri"]) for hit in found] == same
    assert [hit["_score"] for hit in found] == pytest.approx(
        [(1 + hit.score) / 2 for hit in ranking.hits[1:]], abs=1e-3
    )
    _, _, _, wide, windows, page, _ = upstream.bodies
    assert (wide["size"], wide["_source"]) == (1000, False)
    assert len(windows["knn"]["filter"]["ids"]["values"]) == COUNT
    assert page["_source"] == ["uri"]


def test_boxes_of_the_page_are_fitted_when_asked(house, upstream):
    inner = {"retriever": {"knn": built(house)}, "rank_window_size": R, "rerank": {"refine": True}}
    body = {"retriever": {"camsearch": inner}, "from": 1, "size": 3}
    found, true = searched(house, upstream, body)["hits"]["hits"], cosines(house)
    check(true, found, boxes=False)
    documents = house.gallery.get([hit["_id"] for hit in found])
    query = house.method.describe_query(house.rgb_image(0), REGIONS)
    with closing(house.store()) as store, closing(Matcher(house.method, store, REGIONS)) as matcher:
        boxes = [(one, Box(*true[one.id][1])) for one in documents.values()]
        fitted = matcher.refined(query, boxes)
    shown = {hit["_id"]: hit["fields"]["camsearch.box"] for hit in found}
    assert shown == {id_: box.as_list() for id_, box in fitted.items()}
    assert shown != {id_: true[id_][1] for id_ in shown}


def test_an_expansion_finds_no_more_hits_than_the_first_search_may(house, upstream):
    inner = {"retriever": {"knn": built(house, k=4)}, "expand": {"hits": 2}}
    found = searched(house, upstream, {"retriever": {"camsearch": inner}, "size": COUNT})
    assert len(found["hits"]["hits"]) == 4
    assert all("camsearch.box" in hit["fields"] for hit in found["hits"]["hits"])


@pytest.mark.parametrize("expand", [0, 3])
def test_several_images_are_one_query_as_in_python(house, upstream, expand):
    """Two views, one of them in a box, and an indexed image of what it is not."""
    box, described = Box(4, 8, 40, 50), house.method.describe_query
    builder = {
        "images": [house.image(0), house.image(1) | {"box": box.as_list()}],
        "without": [house.image(2)],
    }
    knn = KNN | {"query_vector_builder": {"camsearch": builder}}
    more = {"expand": {"hits": expand}} if expand else {}
    inner = {"retriever": {"knn": knn}, "rank_window_size": R} | more
    found = searched(house, upstream, {"retriever": {"camsearch": inner}, "size": 6})
    views = [described(house.rgb_image(0), REGIONS), described(house.rgb_image(1), REGIONS, box)]
    query = combined_query(views, [described(house.rgb_image(2), REGIONS)])
    searcher = Searcher(house.method, house.gallery, None, REGIONS)
    ranking = searcher.search(query, SearchPlan(k=6, window=R, expand=expand))
    searcher.close()
    assert found_ids(found) == [hit.document.id for hit in ranking.hits]
    for hit, expected in zip(found["hits"]["hits"], ranking.hits, strict=True):
        assert hit["_score"] == pytest.approx((1 + expected.score) / 2, abs=1e-3)
        assert hit["fields"]["camsearch.box"] == expected.box.as_list()


@pytest.mark.parametrize("by", ["maps", "images"])
def test_several_images_are_refused_where_one_is_compared(house, by):
    builder = {"image": house.image(0), "without": [house.image(1)]}
    knn = KNN | {"query_vector_builder": {"camsearch": builder}}
    body = {"retriever": {"camsearch": {"retriever": {"knn": knn}, "rerank": {"by": by}}}}
    request = Request("POST", "/images/_search", "", JSON, orjson.dumps(body))
    with house.service() as service, pytest.raises(OneImageOnly, match="re-rank by windows"):
        asyncio.run(service.visual(request))
