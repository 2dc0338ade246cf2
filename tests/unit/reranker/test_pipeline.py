"""A query's way to its answer, against the same computed by hand from the gallery's own numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from descriptors.arrays import Box, Size, box_of_region
from descriptors.errors import RequestError
from descriptors.refining import refine_box
from galleries.errors import NoWindows
from galleries.filters import Term
from galleries.kept_maps import stack_kept
from galleries.local import LocalGallery
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.support.house import COUNT, REGIONS
from tests.support.tolerances import WHITENED

CPU = torch.device("cpu")
KOELN = Term("meta.city", "Köln")
PLAIN = {"expand_neighbours": 0}
PAPER = PLAIN | {"expand_with_regions": True, "remember_regions": False}


@pytest.fixture(scope="module")
def searcher_with(house, store):
    made = []

    def make(**changed):
        regions = REGIONS.model_copy(update=changed)
        made.append(Searcher(house.method, house.gallery, store, regions))
        return made[-1]

    yield make
    for searcher in made:
        searcher.close()


@pytest.fixture(scope="module")
def searcher(searcher_with):
    return searcher_with()


@pytest.fixture(scope="module")
def query(house):
    return house.method.describe_query(house.rgb_image(0), REGIONS, Box(8, 4, 50, 44))


@pytest.fixture
def match(house, query, store):
    """The best region of one document by itself, and the box it stands for."""

    def found(document):
        kept = store.get({document.id: document.digest})[document.id]
        maps = stack_kept([kept.averaged()], CPU)
        (region,) = house.method.match_regions(query, maps, REGIONS)
        size = Size(document.width, document.height)
        return region, box_of_region(region.region, size, maps.grid(maps.finest))

    return found


def cosines(house, vector):
    """All cosines, one by one, by id."""
    vector = np.asarray(vector, dtype=np.float64)
    vector /= np.linalg.norm(vector)
    return {
        d.id: float(d.descriptor.astype(np.float64) @ vector) for d in house.gallery.documents()
    }


def walked(found, query, hits, neighbours=5, spread=0.9):
    """How often each hit is passed on a walk over neighbours, as a share of the most passed."""
    alike = np.clip(found @ found.T, 0, None) ** 3
    np.fill_diagonal(alike, 0)
    nearest = np.argsort(-alike, axis=1)[:, :neighbours]
    joined = np.zeros_like(alike)
    for row, columns in enumerate(nearest):
        for column in columns:
            joined[row, column] = joined[column, row] = alike[row, column]
    degree = joined.sum(axis=1)
    step = np.divide(joined, np.sqrt(np.outer(degree, degree)), where=joined > 0, out=joined * 0)
    now = np.where(np.arange(len(found)) < hits, np.clip(found @ query, 0, None) ** 3, 0)
    passed = np.zeros(len(found))
    for _ in range(400):
        passed, now = passed + now, spread * step @ now
    return passed / passed.max()


def in_order(scores):
    return sorted(scores, key=lambda id_: (-scores[id_], id_))


def ids(hits):
    return [hit.document.id for hit in hits]


def check_scores(hits, expected, tolerance=1e-5):
    assert ids(hits) == in_order(expected)[: len(hits)]
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.document.id], abs=tolerance)


class TestFirstSearch:
    def test_it_is_the_brute_force_order(self, searcher, house, query):
        ranking = searcher.search(query, SearchPlan(k=COUNT))
        check_scores(ranking.hits, cosines(house, query.descriptor), 1e-6)
        assert ranking.first == ranking.hits
        assert ranking.warnings == ()
        assert list(ranking.milliseconds) == ["first_search", "documents"]
        for rank, hit in enumerate(ranking.hits, start=1):
            assert (hit.rank, hit.first_rank, hit.first_score) == (rank, rank, hit.score)
            assert hit.box is None

    @pytest.mark.parametrize("plan", [SearchPlan(), SearchPlan(window=9), SearchPlan(expand=2)])
    def test_one_may_be_left_out(self, searcher, query, plan):
        unwanted = searcher.search(query, plan).hits[0].document.id
        ranking = searcher.search(query, replace(plan, leave_out=unwanted))
        for hits in (ranking.hits, ranking.first):
            assert unwanted not in ids(hits)
            assert len(hits) == 10

    def test_only_what_matches_comes_from_both_searches(self, searcher, query):
        plan = SearchPlan(k=COUNT, window=3, expand=5, matching=KOELN)
        hits = ids(searcher.search(query, plan).hits)
        assert sorted(hits) == [f"{i:02d}" for i in range(0, COUNT, 3)]
        assert searcher.search(query, replace(plan, matching=Term("meta.city", "Rom"))).hits == ()

    @pytest.mark.parametrize(("window", "expand"), [(0, 0), (1000, 3), (5, 1000)])
    def test_more_may_be_asked_for_than_there_is(self, searcher, query, window, expand):
        ranking = searcher.search(query, SearchPlan(1000, window=window, expand=expand))
        assert len(ranking.hits) == len(ranking.first) == COUNT

    @pytest.mark.parametrize("plan", [SearchPlan(), SearchPlan(window=9, expand=2, alpha=1.0)])
    def test_an_empty_gallery_answers_with_nothing(self, house, tmp_path, query, plan):
        there = house.gallery
        with LocalGallery.create(tmp_path, there.dims, there.fingerprint, there.settings) as empty:
            ranking = Searcher(house.method, empty, None, REGIONS).search(query, plan)
        assert (ranking.hits, ranking.first, ranking.warnings) == ((), (), ())

    @pytest.mark.parametrize("said", [{"k": 0}, {"window": -1}, {"expand": -1}, {"alpha": -0.5}])
    def test_a_plan_that_asks_for_nothing_is_refused(self, said):
        with pytest.raises(RequestError, match=r"at least 1|0 turns each off"):
            SearchPlan(**said)


class TestRerank:
    def test_the_window_is_sorted_by_best_regions_and_the_rest_stays(self, searcher, query, match):
        window = 12
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=window, by="maps"))
        before, after = ids(ranking.first), ids(ranking.hits)
        assert before != after
        assert (sorted(before[:window]), before[window:]) == (
            sorted(after[:window]),
            after[window:],
        )
        first = {hit.document.id: hit for hit in ranking.first}
        for hit in ranking.hits:
            known = first[hit.document.id]
            assert (hit.first_rank, hit.first_score) == (known.rank, known.score)
        for hit in ranking.hits[:window]:
            found, box = match(hit.document)
            WHITENED.check(found.score, hit.score, hit.document.id)
            assert hit.box == box == box.inside(Size(hit.document.width, hit.document.height))
        scores = [hit.score for hit in ranking.hits[:window]]
        assert scores == sorted(scores, reverse=True)
        for hit in ranking.hits[window:]:
            assert (hit.box, hit.score, hit.rank) == (None, hit.first_score, hit.first_rank)

    def test_the_window_reaches_beyond_the_hits_wanted(self, searcher, query):
        few = searcher.search(query, SearchPlan(k=3, window=COUNT, by="maps"))
        all_of_them = searcher.search(query, SearchPlan(k=COUNT, window=COUNT, by="maps"))
        assert ids(few.hits) == ids(all_of_them.hits)[:3]
        assert ids(few.first) == ids(all_of_them.first)[:3]

    def test_without_regions_it_is_the_whole_image_with_the_query_s_classes(
        self, searcher, house, store, query
    ):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT, by="images"))
        for hit in ranking.hits:
            document = hit.document
            assert hit.box == Box(0, 0, document.width, document.height)
            kept = store.get({document.id: document.digest})[document.id]
            maps = stack_kept([kept.averaged()], CPU).floating(torch.float32)
            alone = house.method.describe_classes(maps, query.classes[None, :3])
            WHITENED.check(float(alone[0, 0] @ query.region_descriptor), hit.score, document.id)

    def test_a_hit_without_a_usable_region_keeps_its_first_score(self, searcher_with, query):
        # No region is as large as that, and the whole image does not count.
        strict = searcher_with(min_side=4000, whole_image=False)
        ranking = strict.search(query, SearchPlan(window=10, by="maps"))
        assert ids(ranking.hits) == ids(ranking.first)
        assert ranking.warnings == ()
        assert {hit.box for hit in ranking.hits} == {None}

    def test_hits_without_maps_keep_their_first_score_and_it_is_said_once(self, house, query):
        ranking = Searcher(house.method, house.gallery, None, REGIONS).search(
            query, SearchPlan(window=7, by="maps")
        )
        assert ids(ranking.hits) == ids(ranking.first)
        (warning,) = ranking.warnings
        assert warning.startswith("7 of 7 hits keep their first score")


class TestExpansion:
    @pytest.mark.parametrize(("n", "alpha"), [(1, 0), (COUNT, 0), (5, 3.0)])
    def test_the_query_plus_the_first_hits_is_searched_again(
        self, searcher_with, house, query, n, alpha
    ):
        plan = SearchPlan(k=COUNT, expand=n, alpha=alpha)
        ranking = searcher_with(**PLAIN).search(query, plan)
        expanded = query.descriptor.numpy().astype(np.float64)
        for hit in ranking.first[:n]:
            expanded = expanded + max(hit.first_score, 0) ** alpha * hit.document.descriptor
        check_scores(ranking.hits, cosines(house, expanded))

    @pytest.mark.parametrize("window", [6, 2])
    def test_in_the_paper_a_re_ranked_hit_gives_its_best_region(
        self, searcher_with, house, query, match, window
    ):
        """docs/method.md section 5; where the window ends, hits give their whole descriptor."""
        plan = SearchPlan(k=COUNT, window=window, by="maps", expand=4)
        searcher = searcher_with(**PAPER)
        best = searcher.search(query, replace(plan, expand=0)).hits[:4]
        added = [match(h.document)[0].descriptor.numpy() for h in best[:window]]
        added += [h.document.descriptor for h in best[window:]]
        expected = cosines(house, query.descriptor.numpy() + np.sum(added, axis=0))
        for hit in searcher.search(query, plan).hits:
            WHITENED.check(expected[hit.document.id], hit.score, hit.document.id)

    @pytest.mark.parametrize(
        "plan", [SearchPlan(k=4, expand=3), SearchPlan(8, 6, "maps", expand=3)]
    )
    def test_by_default_hits_that_diffusion_reaches_expand(
        self, searcher, house, query, match, plan
    ):
        """docs/adr/0014; the walk step by step, over all hits of the first search, in their order.

        A re-ranked hit stands there as its whole image with the query's classes.
        """
        order = searcher.search(query, replace(plan, k=COUNT, expand=0)).hits
        found = np.stack([hit.document.descriptor for hit in order]).astype(np.float64)
        for row, hit in enumerate(order[: plan.window]):
            found[row] = match(hit.document)[0].whole.numpy()
        weights = walked(found, query.descriptor.numpy(), plan.expand)
        weights[np.argsort(-weights)[REGIONS.expand_max :]] = 0
        expected = cosines(house, query.descriptor.numpy() + weights @ found)
        again = {h.document.id: h.score for h in searcher.search(query, plan).hits}
        assert len(again) == plan.k
        for id_, score in again.items():
            if plan.window:
                assert score >= expected[id_] - 1e-4
            else:
                assert score == pytest.approx(expected[id_], abs=1e-4)

    def test_each_stage_is_timed(self, searcher, query):
        took = searcher.search(query, SearchPlan(window=3, expand=2)).milliseconds
        assert list(took) == ["first_search", "rerank", "expand", "documents"]


@pytest.fixture
def best_windows(house):
    """The cosine and the box of each document's window that is most similar to a vector."""

    def found(vector):
        vector = np.asarray(vector, dtype=np.float64)
        best = {}
        for document in house.gallery.documents():
            rows = document.windows.vectors.astype(np.float64)
            of_rows = rows @ vector / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector)
            row = int(of_rows.argmax())
            best[document.id] = float(of_rows[row]), Box(*document.windows.boxes[row].tolist())
        return best

    return found


class TestWindows:
    def test_the_first_search_finds_the_best_windows(self, searcher, query, best_windows):
        ranking = searcher.search(query, SearchPlan(k=COUNT, windows=True))
        best = best_windows(query.descriptor)
        check_scores(ranking.hits, {id_: cosine for id_, (cosine, _) in best.items()})
        assert [hit.box for hit in ranking.hits] == [best[id_][1] for id_ in ids(ranking.hits)]
        assert len({hit.box for hit in ranking.hits}) > 1
        assert ranking.first == ranking.hits

    @pytest.mark.parametrize("by", [None, "windows"])
    def test_the_first_hits_are_sorted_by_windows_and_the_rest_stays(
        self, searcher, query, best_windows, by
    ):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=12, by=by))
        best, first = best_windows(query.descriptor), ids(ranking.first)
        check_scores(ranking.hits[:12], {id_: best[id_][0] for id_ in first[:12]})
        assert ids(ranking.hits)[:12] != first[:12]
        assert ids(ranking.hits)[12:] == first[12:]
        assert [hit.box for hit in ranking.hits] == [best[id_][1] for id_ in ids(ranking.hits)]

    @pytest.mark.parametrize("plan", [SearchPlan(k=COUNT, windows=True), SearchPlan(COUNT, 12)])
    def test_the_second_search_is_over_windows_too(self, searcher_with, query, best_windows, plan):
        searcher = searcher_with(**PLAIN)
        first = searcher.search(query, plan).hits[:3]
        expanded = query.descriptor.numpy() + np.sum([h.document.descriptor for h in first], 0)
        ranking = searcher.search(query, replace(plan, expand=3))
        best = best_windows(expanded)
        check_scores(ranking.hits, {id_: cosine for id_, (cosine, _) in best.items()})

    def test_windows_are_read_for_boxes_only(self, searcher, house, query, monkeypatch):
        get, read = house.gallery.get, []

        def noted(ids, *, windows=True):
            read.append((len(ids), windows))
            return get(ids, windows=windows)

        monkeypatch.setattr(house.gallery, "get", noted)
        searcher.search(query, SearchPlan(k=2, window=3, by="maps", expand=2))
        matched, expanding, shown = read
        assert (matched, shown) == ((3, False), (4, True))
        assert not expanding[1]

    def test_boxes_are_refined_when_asked(self, searcher, house, query, store):
        plan = SearchPlan(k=COUNT, windows=True)
        coarse = searcher.search(query, plan).hits
        fine = searcher.search(query, replace(plan, refine=True)).hits
        assert ids(fine) == ids(coarse)
        for hit, before in zip(fine, coarse, strict=True):
            document = hit.document
            kept = store.get({document.id: document.digest})[document.id]
            size = Size(document.width, document.height)
            maps = stack_kept([kept], CPU, house.method.encoder.kept_dtype)
            fitted = refine_box(house.method, query, maps, size, before.box, searcher.regions)
            assert hit.box == fitted
        assert [hit.box for hit in fine] != [hit.box for hit in coarse]

    @pytest.mark.parametrize("plan", [SearchPlan(), SearchPlan(window=3, by="maps")], ids=repr)
    def test_boxes_that_are_no_windows_are_not_refined(self, searcher, query, plan):
        with pytest.raises(RequestError, match=r"Only windows are refined.*re-rank by windows"):
            searcher.search(query, replace(plan, refine=True))

    def test_without_maps_and_images_boxes_stay(self, house, query):
        blind = Searcher(house.method, house.gallery, None, REGIONS)
        hits = blind.search(query, SearchPlan(k=3, windows=True)).hits
        assert [hit.box for hit in blind.refined(query, hits)] == [hit.box for hit in hits]
        blind.close()

    def test_a_gallery_without_windows_says_so(self, house, tmp_path, store, query):
        there = house.gallery
        settings = there.settings | {"method": {"windows": 0}}
        with LocalGallery.create(tmp_path, there.dims, there.fingerprint, settings) as old:
            old.put([replace(d, windows=None) for d in there.documents()])
            searcher = Searcher(house.method, old, store, REGIONS)
            with pytest.raises(NoWindows, match="camsearch gallery rebuild"):
                searcher.search(query, SearchPlan(windows=True))
            searcher.close()


class Vanishing(LocalGallery):
    """A gallery from which somebody deletes images right after each search."""

    doomed: tuple[str, ...] = ()

    def knn_windows(self, vector, k, matching=None, among=None):
        hits = super().knn_windows(vector, k, matching, among)
        self.delete(self.doomed)
        return hits

    def knn(self, vector, k, matching=None):
        hits = super().knn(vector, k, matching)
        self.delete(self.doomed)
        return hits


@pytest.mark.parametrize("all_of_them", [False, True])
@pytest.mark.parametrize(
    "plan",
    [
        SearchPlan(k=COUNT, window=2),
        SearchPlan(k=COUNT, window=2, by="maps"),
        SearchPlan(k=COUNT, window=4, expand=8),
        SearchPlan(k=COUNT, windows=True),
    ],
    ids=repr,
)
def test_images_deleted_during_a_search_are_left_out(
    house, tmp_path, store, query, plan, all_of_them
):
    original = house.gallery
    about = original.dims, original.fingerprint, original.settings
    with Vanishing.create(tmp_path, *about) as gallery:
        gallery.put(list(original.documents()))
        searcher = Searcher(house.method, gallery, store, REGIONS)
        before = ids(searcher.search(query, plan).first)
        gallery.doomed = tuple(before if all_of_them else before[:2])
        ranking = searcher.search(query, plan)
        searcher.close()
    left = [id_ for id_ in before if id_ not in gallery.doomed]
    assert sorted(ids(ranking.hits)) == sorted(left)
    assert [hit.rank for hit in ranking.hits] == list(range(1, len(left) + 1))
    assert ids(ranking.first) == left
    assert ranking.warnings == ()
