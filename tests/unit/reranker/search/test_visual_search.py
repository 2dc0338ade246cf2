"""One search by images, with an Elasticsearch that says what it is told to."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import numpy as np
import orjson
import pytest

from galleries.filters import Term
from reranker.dialect.parsing import parse_search
from reranker.errors import Overloaded, UpstreamUnreachable
from reranker.http.exchange import Answer, Request
from reranker.observability.metrics import Metrics
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from reranker.search.indices import Indices
from reranker.search.running import Ranked
from reranker.search.search import VisualSearcher
from tests.support.clock import HANG_S, move_clock, run_with_clock
from tests.support.house import COUNT, JSON, REGIONS, found_ids, said
from tests.support.wire import on_a_loop

HEADERS = (*JSON, (b"authorization", b"ApiKey x"))
BOTH = {"expand": {"hits": 3}}
EXPANDED = {"rerank": False, "expand": {"hits": 3}}
LATE = 3600.0  # seconds, for a `turn`
KNN = {"field": "descriptor", "k": COUNT, "num_candidates": 50}


def body_of(house, *, size=COUNT, ours=None, **said_of_body):
    knn = KNN | {"query_vector_builder": {"camsearch": {"image": house.image(0)}}}
    ranking = {"retriever": {"knn": knn}, "rank_window_size": 9, "rerank": {"by": "maps"}}
    ranking |= ours or {}
    return {"retriever": {"camsearch": ranking}, "size": size} | said_of_body


async def asked(service, body, query="", path="/images/_search", *, matcher=None, timeout_s=HANG_S):
    searcher = VisualSearcher(
        Indices(service.upstream.ask, service.method.fingerprint()),
        service.images,
        matcher or service.matcher,
        service.gate,
        service.metrics,
        timeout_s,
    )
    search = parse_search(orjson.dumps(body), query, service.limits)
    request = Request("POST", path, query, HEADERS, orjson.dumps(body))
    return await searcher.search(request, path.split("/")[1], search)


def ranked(service, body, *rest, **parts):
    found = run_with_clock(asked(service, body, *rest, **parts))
    assert isinstance(found, Ranked), found
    return found


def ranked_late(service, body, after_s, matcher):
    """With so many seconds gone by while the matcher works."""

    async def run():
        search = asyncio.create_task(asked(service, body, matcher=matcher, timeout_s=300.0))
        await until(lambda: matcher.calls or search.done())
        move_clock(after_s)
        return await search

    found = run_with_clock(run())
    assert isinstance(found, Ranked), found
    return found


def hits_of(found):
    return found.answer["hits"]["hits"]


def first_order(service, house):
    body = {"knn": body_of(house)["retriever"]["camsearch"]["retriever"]["knn"], "size": COUNT}
    answer = asyncio.run(asked(service, body))
    assert isinstance(answer, Answer)
    return found_ids(orjson.loads(answer.body))


class Matching:
    """A matcher that does as it is told before, or instead of, the real one's work."""

    def __init__(self, real, before=lambda stop: None):
        self.real, self.regions, self.method = real, real.regions, real.method
        self.before, self.calls, self.stopped = before, [], threading.Event()

    def match(self, query, images, regions, stop):
        self.calls.append((query, [one.id for one in images], regions))
        self.before(stop)
        return self.real.match(query, images, regions, stop)

    def refined(self, query, boxes, stop):
        self.calls.append((query, [image.id for image, _ in boxes], None))
        self.before(stop)
        return self.real.refined(query, boxes, stop)

    def until_stopped(self, stop):
        until = time.monotonic() + HANG_S
        while not stop() and time.monotonic() < until:
            time.sleep(0.002)
        if stop():
            self.stopped.set()

    @classmethod
    def slow(cls, real):
        made = cls(real)
        made.before = made.until_stopped
        return made


async def until(condition):
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def fails(stop):
    raise ZeroDivisionError("a fault")


class TestRequests:
    def test_what_is_asked_and_with_whose_rights(self, service, upstream, house):
        body = body_of(house, ours={"rerank": False, "expand": {"hits": 3}})
        ranked(service, body, "filter_path=hits&size=5")
        assert [(one.method, one.path, one.query) for one in upstream.asked] == [
            ("GET", "/images/_mapping", ""),
            *[("POST", "/images/_search", upstream.asked[1].query)] * 3,
        ]
        assert upstream.asked[1].query.startswith("preference=")
        assert all(one.headers == HEADERS for one in upstream.asked)
        first, vectors, again = upstream.bodies
        assert first["fields"] == ["digest", "width", "height", "uri"]
        assert vectors["fields"] == ["descriptor"]
        assert len(vectors["query"]["ids"]["values"]) == COUNT
        assert again.keys() == first.keys()
        old, new = (np.asarray(one["retriever"]["knn"]["query_vector"]) for one in (first, again))
        assert np.linalg.norm(new) == pytest.approx(1)
        assert not np.allclose(old, new)

    def test_what_was_matched_expands_and_no_vector_is_asked_for(self, service, upstream, house):
        ranked(service, body_of(house, ours={"rank_window_size": COUNT, "expand": {"hits": 3}}))
        first, again = upstream.bodies
        assert again.keys() == first.keys()
        old, new = (np.asarray(one["retriever"]["knn"]["query_vector"]) for one in (first, again))
        assert not np.allclose(old, new)

    def test_size_0_matches_nothing(self, service, upstream, house):
        matcher = Matching(service.matcher)
        found = ranked(service, body_of(house, size=0, ours={"expand": {}}), matcher=matcher)
        assert (hits_of(found), found.answer["hits"]["max_score"]) == ([], None)
        assert found.answer["hits"]["total"]["value"] == COUNT
        assert matcher.calls == []
        assert len(upstream.asked) == 2


class TestAsInPython:
    """What Elasticsearch's hits become is what a gallery's become."""

    @pytest.mark.parametrize(
        ("plan", "ours"),
        [
            (
                SearchPlan(k=5, window=6, by="maps", expand=4),
                {"rank_window_size": 6, "expand": {"hits": 4}},
            ),
            (SearchPlan(k=COUNT, window=12, by="images", matching=Term("meta.city", "Bonn")), {}),
        ],
    )
    def test_order_scores_boxes_and_first_places(self, service, house, plan, ours):
        searcher = Searcher(house.method, house.gallery, service.matcher.features, REGIONS)
        expected = searcher.search(house.method.describe_query(house.rgb_image(0), REGIONS), plan)
        searcher.close()
        body = body_of(house, size=plan.k, ours=ours)
        if plan.matching:
            ranking = body["retriever"]["camsearch"]
            ranking |= {"rank_window_size": 12, "rerank": {"regions": False}}
            ranking["retriever"]["knn"]["filter"] = {"term": {"meta.city": "Bonn"}}
        hits = hits_of(ranked(service, body))
        assert [hit["_id"] for hit in hits] == [hit.document.id for hit in expected.hits]
        for one, hit in zip(expected.hits, hits, strict=True):
            assert hit["_score"] == pytest.approx((1 + one.score) / 2, abs=1e-6)
            fields = hit.get("fields", {})
            assert fields.get("camsearch.box") == (one.box and one.box.as_list())
            assert fields.get("camsearch.first_rank") == (one.first_rank and [one.first_rank])


class TestOptions:
    @pytest.mark.parametrize(
        ("rerank", "changed"),
        [
            ({"by": "maps"}, {}),
            (
                {"regions": False, "classes": 1},
                {"thresholds": (), "whole_image": True, "n_classes": 1},
            ),
        ],
        ids=str,
    )
    def test_they_reach_the_matcher(self, service, house, rerank, changed):
        matcher = Matching(service.matcher)
        body = body_of(house, ours={"rerank": rerank})
        found = ranked(service, body, matcher=matcher)
        ((query, ids, regions),) = matcher.calls
        assert regions == REGIONS.model_copy(update=changed)
        assert ids == first_order(service, house)[:9]
        expected = house.method.describe_query(house.rgb_image(0), regions)
        assert np.allclose(query.region_descriptor, expected.region_descriptor, atol=1e-6)
        assert found.warnings == ()

    def test_expansion_alone_matches_nothing(self, service, house):
        matcher = Matching(service.matcher)
        body = body_of(house, ours={"rerank": False, "expand": {}})
        assert ranked(service, body, matcher=matcher).warnings == ()
        assert matcher.calls == []


class TestLate:
    def test_a_slow_matcher_gives_the_first_order_in_time(self, service, house):
        matcher = Matching.slow(service.matcher)
        # The matcher works until it is stopped, which the search's own limit alone does.
        found = ranked_late(service, body_of(house, timeout="200s"), 201, matcher)
        assert found_ids(found.answer) == first_order(service, house)
        (warning,) = found.warnings
        assert "timed out" in warning
        for rank, hit in enumerate(hits_of(found), start=1):
            assert hit["fields"]["camsearch.first_rank"] == [rank]
            assert hit["fields"]["camsearch.first_score"] == [hit["_score"]]
            assert "camsearch.box" not in hit["fields"]
        assert matcher.stopped.wait(HANG_S)

    def test_a_first_search_cut_off_before_any_hit_says_so(self, service, upstream, house):
        none = {"took": 1, "timed_out": True, "hits": {"max_score": None, "hits": []}}
        upstream.turn = lambda asked: said(none) if asked.path.endswith("_search") else None
        (warning,) = ranked(service, body_of(house)).warnings
        assert "timed out" in warning

    def test_the_servers_own_limit_holds_where_the_search_names_none(self, service, house):
        matcher = Matching.slow(service.matcher)
        found = ranked_late(service, body_of(house), 301, matcher)
        assert len(found.warnings) == 1

    def test_waiting_for_admission_counts(self, service, house):
        async def run():
            async with service.gate.passed(), service.gate.passed():
                body = body_of(house, timeout="200s")
                search = asyncio.create_task(asked(service, body))
                await until(lambda: service.gate.waiting)
                move_clock(201)
                return await search

        found = run_with_clock(run())
        assert "timed out" in found.warnings[0]
        assert service.gate.waiting == 0

    def test_too_many_waiting_is_said(self, house, upstream):
        settings = {"serve_reranks": 1, "serve_waiting": 1}
        with house.service(upstream, settings=settings) as service:

            async def run():
                async with service.gate.passed():
                    waits = asyncio.create_task(asked(service, body_of(house)))
                    await until(lambda: service.gate.waiting)
                    with pytest.raises(Overloaded):
                        await asked(service, body_of(house))
                return await waits

            assert asyncio.run(run()).warnings == ()

    @on_a_loop
    async def test_a_caller_who_goes_ends_the_matching(self, service, house):
        matcher = Matching.slow(service.matcher)

        task = asyncio.create_task(asked(service, body_of(house), matcher=matcher))
        await until(lambda: matcher.calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert matcher.stopped.wait(HANG_S)
        async with asyncio.timeout(HANG_S), service.gate.passed(), service.gate.passed():
            pass

    def test_boxes_that_are_not_fitted_in_time_or_at_all_are_those_of_windows(self, service, house):
        coarse = hits_of(ranked(service, body_of(house, ours={"rerank": True})))
        body = body_of(house, ours={"rerank": {"refine": True}}, timeout="200s")
        slow = Matching.slow(service.matcher)
        late = ranked_late(service, body, 201, slow)
        failed = ranked(service, body, matcher=Matching(service.matcher, fails))
        for found, words in ((late, "not fitted in time"), (failed, "could not be fitted")):
            (warning,) = found.warnings
            assert words in warning
            assert hits_of(found) == coarse
        assert slow.stopped.wait(HANG_S)

    def test_a_matcher_that_fails_leaves_the_first_order(self, service, house, caplog):
        matcher = Matching(service.matcher, fails)
        found = ranked(service, body_of(house), matcher=matcher)
        assert found_ids(found.answer) == first_order(service, house)
        (warning,) = found.warnings
        assert "re-ranking failed" in warning
        assert "a fault" not in warning
        assert "a fault" in caplog.text


class TestSecondSearch:
    @pytest.mark.parametrize(
        ("nth", "told", "expected"),
        [
            (3, UpstreamUnreachable("Gone."), "timed out"),
            (3, said({"error": "no"}, 403), "refused with status 403"),
            (4, said({"error": "busy"}, 429), "refused with status 429"),
            (4, LATE, "timed out"),
        ],
        ids=["vectors unreachable", "vectors hidden", "search refused", "search late"],
    )
    def test_if_the_second_search_fails_the_first_order_is_answered(
        self, service, upstream, house, nth, told, expected
    ):
        before = ranked(service, body_of(house))
        upstream.asked.clear()

        def turn(_):
            if len(upstream.asked) != nth:
                return None
            if told == LATE:
                move_clock(201)  # and then what is asked never comes
            return told

        upstream.turn = turn
        found = ranked(service, body_of(house, ours=BOTH, timeout="200s"))
        assert found.answer["hits"] == before.answer["hits"]
        (warning,) = found.warnings
        assert expected in warning

    def test_a_late_matcher_leaves_no_time_for_the_second_search(self, service, upstream, house):
        matcher = Matching.slow(service.matcher)
        body = body_of(house, ours=BOTH, timeout="200s")
        found = ranked_late(service, body, 201, matcher)
        assert found_ids(found.answer) == first_order(service, house)
        assert len(found.warnings) == 2

    def test_hits_that_are_gone_meanwhile_expand_nothing(self, service, upstream, house):
        nothing = said({"hits": {"hits": []}})
        upstream.turn = lambda _: nothing if len(upstream.asked) == 3 else None
        found = ranked(service, body_of(house, ours=EXPANDED))
        assert len(upstream.asked) == 3
        assert found.warnings == ()
        assert found_ids(found.answer) == first_order(service, house)

    def test_a_vector_that_is_none_of_ours_does_not_expand(self, service, upstream, house):
        best = first_order(service, house)[:3]
        upstream.asked.clear()

        def turn(request):
            if "ids" not in orjson.loads(request.body or b"{}").get("query", {}):
                return None
            vector = house.gallery.get([best[1]])[best[1]].descriptor.tolist()
            fields = dict(zip(best, ([1.0, 2.0], vector, None), strict=True))
            rows = [
                {"_index": "images", "_id": i, "fields": {"descriptor": v} if v else {}}
                for i, v in fields.items()
            ]
            return said({"hits": {"hits": rows}})

        upstream.turn = turn
        ranked(service, body_of(house, ours=EXPANDED))
        old = np.asarray(upstream.bodies[0]["retriever"]["knn"]["query_vector"])
        new = np.asarray(upstream.bodies[-1]["retriever"]["knn"]["query_vector"])
        expected = old + house.gallery.get([best[1]])[best[1]].descriptor
        np.testing.assert_allclose(new, expected / np.linalg.norm(expected), atol=1e-6)

    def test_a_search_by_text_too_keeps_elasticsearchs_order(self, service, upstream, house):
        """Its scores are no cosines, so regions are not compared with them."""
        order = ["05", "00", "07"]

        def turn(request):
            body = orjson.loads(request.body or b"{}")
            if "knn" not in body:
                return None
            again = len([one for one in upstream.bodies if "knn" in one]) > 1
            rows = order if again else sorted(order)
            return hits_answer(house, [("images", i, 9.0 - n) for n, i in enumerate(rows)])

        upstream.turn = turn
        knn = KNN | {"query_vector_builder": {"camsearch": {"image": house.image(0)}}}
        body = {
            "knn": knn,
            "query": {"match": {"meta.city": "Bonn"}},
            "retriever": {"camsearch": {"rerank": {"by": "maps"}, "expand": {"hits": 2}}},
        }
        found = ranked(service, body)
        assert found_ids(found.answer) == order
        assert [hit["_score"] for hit in hits_of(found)] == [9.0, 8.0, 7.0]
        assert [hit["fields"]["camsearch.first_rank"] for hit in hits_of(found)] == [[2], [1], [3]]
        assert all("camsearch.box" in hit["fields"] for hit in hits_of(found))


def hits_answer(house, rows, **changed):
    """Hits of Elasticsearch: index, id, score; what tells of images from the gallery."""
    known = house.gallery.get([i for _, i, _ in rows])
    hits = []
    for index, id_, score in rows:
        document = known.get(id_)
        fields = {}
        if document is not None and index != "books":
            fields = {
                "digest": [document.digest],
                "width": [document.width],
                "height": [document.height],
                "uri": [document.uri],
            } | changed.get(index, {})
        hits.append({"_index": index, "_id": id_, "_score": score, "fields": fields})
    total = {"value": len(hits), "relation": "eq"}
    return said({"took": 1, "timed_out": False, "hits": {"total": total, "hits": hits}})


class TestSeveralIndices:
    @pytest.fixture
    def told(self, house, upstream):
        """Makes the upstream one of indices of ours and others', that finds these rows."""
        fingerprint = house.method.fingerprint()
        about = {"mappings": {"_meta": {"camsearch": {"fingerprint": fingerprint}}}}

        def tell(rows, **changed):
            def turn(request):
                if request.path.endswith("_mapping"):
                    return said({"new": about, "old": about, "books": {"mappings": {}}})
                query = orjson.loads(request.body).get("query", {})
                if "ids" not in query:
                    return hits_answer(house, rows, **changed)
                wanted = set(query["ids"]["values"])
                found = [(index, i) for index, i, _ in rows if i in wanted]
                return self.vectors(house, found[::-1], orjson.loads(request.body)["size"])

            upstream.turn = turn

        return tell

    @staticmethod
    def vectors(house, keys, size):
        """That of the index new is the image's own; those of others are its opposite."""
        rows = []
        for index, i in keys[:size]:
            vector = house.gallery.get([i])[i].descriptor
            value = (vector if index == "new" else -vector).tolist()
            rows.append({"_index": index, "_id": i, "fields": {"descriptor": value}})
        return said({"hits": {"hits": rows}})

    def test_a_document_of_somebody_else_keeps_its_score_and_it_is_said(self, service, told, house):
        told([("books", "00", 0.9), ("new", "01", 0.8), ("new", "02", 0.7)])
        found = ranked(service, body_of(house))
        (warning,) = found.warnings
        assert warning.startswith("1 of 3 hits keep their first score")
        (theirs,) = [hit for hit in hits_of(found) if hit["_index"] == "books"]
        assert theirs["_score"] == 0.9
        assert "camsearch.box" not in theirs["fields"]
        ours = [hit for hit in hits_of(found) if hit["_index"] == "new"]
        assert all("camsearch.box" in hit["fields"] for hit in ours)

    def test_one_id_twice_is_matched_for_each(self, service, told, house):
        told([("new", "01", 0.9), ("old", "01", 0.8), ("new", "02", 0.7)])
        found = ranked(service, body_of(house))
        assert found.warnings == ()
        scores = {(hit["_index"], hit["_id"]): hit["_score"] for hit in hits_of(found)}
        assert len(scores) == 3
        assert scores["new", "01"] == scores["old", "01"] != scores["new", "02"]

    @pytest.mark.parametrize("stale", ["new", "old"])
    def test_only_the_one_whose_maps_are_kept_is_matched(self, service, told, house, stale):
        """The other has the same id, but was made of other bytes."""
        rows = [("new", "01", 0.9), ("old", "01", 0.8), ("new", "02", 0.7)]
        told(rows, **{stale: {"digest": ["e" * 64]}})
        if stale == "new":
            told([row for row in rows if row[1] != "02"], new={"digest": ["e" * 64]})
        found = ranked(service, body_of(house))
        boxes = {
            h["_index"]: "camsearch.box" in h["fields"] for h in hits_of(found) if h["_id"] == "01"
        }
        assert boxes == {"new": stale != "new", "old": stale != "old"}
        assert found.warnings[0].startswith("1 of ")

    def test_the_vector_of_the_hits_own_index_expands(self, service, upstream, told, house):
        told([("new", "00", 0.9), ("old", "00", 0.2)])
        body = body_of(house, ours={"rerank": False, "expand": {"hits": 1}})
        ranked(service, body)
        searches = [one for one in upstream.bodies if "retriever" in one]
        old, new = (np.asarray(one["retriever"]["knn"]["query_vector"]) for one in searches)
        expected = old + house.gallery.get(["00"])["00"].descriptor
        np.testing.assert_allclose(new, expected / np.linalg.norm(expected), atol=1e-6)


def stages_of(metrics):
    told = metrics.exposition().decode()
    return set(re.findall(r'camsearch_stage_seconds_count\{stage="(\w+)"', told))


def test_stages_are_series_before_the_first_search(house, service):
    for by in ("windows", "maps"):
        ranked(service, body_of(house, ours=BOTH | {"rerank": {"by": by}}))
    assert stages_of(service.metrics) == stages_of(Metrics())
