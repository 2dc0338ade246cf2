"""Quality through the proxy is quality through Python: one gallery, searched both ways.

The proxy is asked over the gallery in its folder, and over an Elasticsearch that holds the same
documents.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import torch

from descriptors.arrays import Box, Size
from descriptors.settings import RegionSettings
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.filters import Ids, Term
from es_mappings.indices import IndexPlan, create, drop, rejects_index
from es_mappings.kept_maps import stack_kept
from reranker.exchange import Request
from reranker.local_elasticsearch.upstream import LocalUpstream
from reranker.passing.upstream import ElasticsearchUpstream, UpstreamSettings
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.support.house import COUNT, JSON, REGIONS, House, answered, found_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from descriptors.arrays import QueryDescription
    from reranker.exchange import Answer, Upstream
    from reranker.ranking import Ranking
    from reranker.service import Service

pytestmark = pytest.mark.slow  # among the longest modules

PAPER = RegionSettings.preset("paper").model_copy(update={"n_classes": 3, "least_side": 16})
BOX = Box(8, 4, 50, 44)

PLANS = {
    "first": SearchPlan(k=7),
    "window": SearchPlan(k=COUNT, window=12),
    "window below k": SearchPlan(k=10, window=4),
    "window above k": SearchPlan(k=3, window=COUNT),
    "one": SearchPlan(k=1, window=1),
    "no regions": SearchPlan(k=COUNT, window=12, regions=False),
    "expand": SearchPlan(k=COUNT, expand=4),
    "expand few": SearchPlan(k=4, expand=3),
    "expand above k": SearchPlan(k=2, expand=6),
    "both": SearchPlan(k=COUNT, window=9, expand=4),
    "both, few": SearchPlan(k=5, window=6, expand=4),
    "both, beyond the window": SearchPlan(k=12, window=2, expand=5),
    "alpha": SearchPlan(k=COUNT, window=9, expand=5, alpha=3.0),
    "alpha alone": SearchPlan(k=6, expand=5, alpha=0.5),
    "both without regions": SearchPlan(k=8, window=7, expand=3, regions=False),
    "filter": SearchPlan(k=COUNT, window=5, expand=3, matching=Term("meta.city", "Köln")),
    "fewer than R": SearchPlan(k=COUNT, window=10, expand=8, matching=Ids(("03", "04", "05"))),
    "nothing": SearchPlan(k=5, window=5, expand=3, matching=Term("meta.city", "Rom")),
    "more than there is": SearchPlan(k=100, window=100, expand=50),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House.built(tmp_path_factory.mktemp("house")) as built:
        yield built


class PerLoop:
    """An upstream whose connections live no longer than one loop."""

    def __init__(self, url: str, index: str) -> None:
        self.url, self.index = url, index

    async def ask(self, request: Request) -> Answer:
        upstream = ElasticsearchUpstream(UpstreamSettings(self.url))
        path = request.path.replace("/images/", f"/{self.index}/")
        try:
            return await upstream.ask(replace(request, path=path))
        finally:
            await upstream.close()


@pytest.fixture(scope="module")
def in_folder(house: House) -> Upstream:
    return LocalUpstream(house.gallery)


@pytest.fixture(scope="module")
def in_elasticsearch(house: House, elasticsearch_url: str) -> Iterator[PerLoop]:
    client = connect(elasticsearch_url)
    name = f"ranked-{uuid.uuid4().hex[:12]}"
    about = {"fingerprint": house.method.fingerprint(), "dims": house.gallery.dims}
    plan = IndexPlan(graph="flat", replicas=0)
    index = create(client, name, about, house.gallery.dims, plan)
    ElasticGallery(client, index, rejects_index(name), refresh=True).put(
        list(house.gallery.documents())
    )
    yield PerLoop(elasticsearch_url, name)
    drop(client, name)
    client.close()


@pytest.fixture(
    params=["in_folder", pytest.param("in_elasticsearch", marks=pytest.mark.services)],
    scope="module",
)
def upstream(request: pytest.FixtureRequest) -> Upstream:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def service(house: House, upstream: Upstream) -> Iterator[Service]:
    with house.service(upstream) as made:
        yield made


@pytest.fixture(scope="module")
def searcher(house: House) -> Iterator[Searcher]:
    store = house.store()
    made = Searcher(house.method, house.gallery, store, REGIONS)
    yield made
    made.close()
    store.close()


def body_of(plan: SearchPlan, image: dict[str, str], box: Box | None = None) -> dict[str, Any]:
    """The plan in the dialect."""
    knn: dict[str, Any] = {"field": "descriptor", "k": plan.most_hits, "num_candidates": 200}
    builder = {"image": image} | ({} if box is None else {"box": box.as_list()})
    knn["query_vector_builder"] = {"camsearch": builder}
    if isinstance(plan.matching, Term):
        knn["filter"] = {"term": {plan.matching.field: plan.matching.value}}
    if isinstance(plan.matching, Ids):
        knn["filter"] = {"ids": {"values": list(plan.matching.ids)}}
    if not plan.window and not plan.expand:
        return {"knn": knn, "size": plan.k}
    options: dict[str, Any] = {"retriever": {"knn": knn}, "rerank": False}
    if plan.window:
        options |= {"rank_window_size": plan.window, "rerank": {"regions": plan.regions}}
    if plan.expand:
        options["expand"] = {"hits": plan.expand, "alpha": plan.alpha}
    return {"retriever": {"camsearch": options}, "size": plan.k}


def check_equal(ranking: Ranking, answer: dict[str, Any], *, ranked: bool = True) -> None:
    """Order, scores, boxes and first places."""
    hits = answer["hits"]["hits"]
    assert found_ids(answer) == [hit.document.id for hit in ranking.hits]
    for expected, hit in zip(ranking.hits, hits, strict=True):
        assert hit["_score"] == pytest.approx((1 + expected.score) / 2, abs=1e-6)
        if not ranked:
            assert "fields" not in hit
            continue
        fields = hit.get("fields", {})
        box = None if expected.box is None else expected.box.as_list()
        assert fields.get("camsearch.box") == box
        if expected.first_rank is None:
            assert not {"camsearch.first_rank", "camsearch.first_score"} & set(fields)
        else:
            assert fields["camsearch.first_rank"] == [expected.first_rank]
            (score,) = fields["camsearch.first_score"]
            assert score == pytest.approx((1 + (expected.first_score or 0)) / 2, abs=1e-6)
        assert not set(fields) & {"digest", "uri", "width", "height", "descriptor"}
    best = max((hit["_score"] for hit in hits), default=None)
    assert (
        answer["hits"]["max_score"] is None if best is None else answer["hits"]["max_score"] >= best
    )


def kept_query(house: House, number: int, box: Box | None) -> QueryDescription:
    """What Python makes of a document's kept maps."""
    document = house.gallery.get([f"{number:02d}"])[f"{number:02d}"]
    store = house.store()
    kept = store.get({document.id: document.digest})[document.id]
    store.close()
    encoder = house.method.encoder
    size = Size(document.width, document.height)
    with torch.inference_mode():
        maps = stack_kept([kept], encoder.device, encoder.kept_dtype)
        return house.method.describe_kept_query(maps, size, REGIONS, box)


@pytest.mark.parametrize(
    ("plan", "box"),
    [(plan, None) for plan in PLANS]
    + [(plan, BOX) for plan in ("first", "window", "no regions", "both, few", "alpha")],
)
def test_a_picture_in_the_request(house, service, searcher, plan, box):
    query = house.method.describe_query(house.picture(0), REGIONS, box)
    ranking = searcher.search(query, PLANS[plan])
    answer, warnings = answered(service, body_of(PLANS[plan], house.image(0), box))
    check_equal(ranking, answer, ranked=plan != "first")
    assert warnings == []


@pytest.mark.parametrize(
    ("plan", "box"), [("first", None), ("window", None), ("window", BOX), ("both", BOX)]
)
def test_a_document_of_the_index(house, service, searcher, plan, box):
    ranking = searcher.search(kept_query(house, 3, box), PLANS[plan])
    answer, warnings = answered(service, body_of(PLANS[plan], {"id": "03"}, box))
    check_equal(ranking, answer, ranked=plan != "first")
    assert warnings == []
    if box is None:
        assert found_ids(answer)[0] == "03"


@pytest.mark.parametrize("plan", ["both, few", "both, beyond the window"])
def test_regions_that_expand_and_are_forgotten(house, upstream, plan):
    """The paper's way."""
    query = house.method.describe_query(house.picture(1), PAPER, None)
    store = house.store()
    searcher = Searcher(house.method, house.gallery, store, PAPER)
    ranking = searcher.search(query, PLANS[plan])
    searcher.close()
    store.close()
    with house.service(upstream, regions=PAPER) as service:
        answer, warnings = answered(service, body_of(PLANS[plan], house.image(1)))
    check_equal(ranking, answer)
    assert warnings == []


@pytest.mark.parametrize("plan", ["window", "both"])
def test_hits_without_maps(house, upstream, plan):
    store = house.store("some")
    whole = house.store()
    for document in house.gallery.documents():
        if document.id not in {"02", "05", "08", "09", "10", "11"}:
            store.put({document.id: Path(whole.path_of(document.id)).read_bytes()})
    whole.close()
    query = house.method.describe_query(house.picture(0), REGIONS)
    searcher = Searcher(house.method, house.gallery, store, REGIONS)
    ranking = searcher.search(query, PLANS[plan])
    searcher.close()
    with house.service(upstream, features=store) as service:
        answer, warnings = answered(service, body_of(PLANS[plan], house.image(0)))
    check_equal(ranking, answer)
    (expected,) = ranking.warnings
    (warning,) = warnings
    assert expected in warning


@pytest.mark.parametrize("classes", [2, 5])
def test_as_many_classes_as_the_search_says(house, service, classes):
    """As Python with these settings: the query, too, is described by so many."""
    regions = REGIONS.model_copy(update={"n_classes": classes})
    query = house.method.describe_query(house.picture(0), regions, BOX)
    store = house.store()
    searcher = Searcher(house.method, house.gallery, store, regions)
    ranking = searcher.search(query, PLANS["window"])
    searcher.close()
    store.close()
    body = body_of(PLANS["window"], house.image(0), BOX)
    body["retriever"]["camsearch"]["rerank"] = {"classes": classes}
    answer, _ = answered(service, body)
    check_equal(ranking, answer)


def test_the_same_search_in_ext_and_page_by_page(house, service):
    plan = PLANS["both"]
    whole, _ = answered(service, body_of(plan, house.image(2), BOX))
    knn = {"field": "descriptor", "k": plan.most_hits, "num_candidates": 200}
    ours = {
        "image": house.image(2),
        "box": BOX.as_list(),
        "rank_window_size": plan.window,
        "expand": {"hits": plan.expand},
    }
    paged = []
    for start in range(0, COUNT, 8):
        body = {"knn": knn, "ext": {"camsearch": ours}, "from": start, "size": 8}
        answer, _ = answered(service, body)
        paged += answer["hits"]["hits"]
    assert found_ids({"hits": {"hits": paged}}) == found_ids(whole)
    assert [hit["_score"] for hit in paged] == [h["_score"] for h in whole["hits"]["hits"]]


def test_searches_at_the_same_time_are_answered_as_alone(house, service):
    plan = PLANS["both, few"]
    bodies = [body_of(plan, house.image(i), None if i % 2 else BOX) for i in range(4)]
    alone = [answered(service, body)[0]["hits"] for body in bodies]

    async def together():
        asked = [
            service.visual(Request("POST", "/images/_search", "", JSON, orjson.dumps(body)))
            for body in bodies
        ]
        return await asyncio.gather(*asked)

    for expected, answer in zip(alone, asyncio.run(together()), strict=True):
        found = orjson.loads(answer.body)["hits"]
        assert found_ids({"hits": found}) == found_ids({"hits": expected})
        for one, other in zip(found["hits"], expected["hits"], strict=True):
            assert one["_score"] == pytest.approx(other["_score"], abs=1e-6)
