"""A query's way to its answer, against the same computed by hand from the gallery's own numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from descriptors.arrays import Box, Size, box_of_region
from descriptors.errors import RequestError
from descriptors.images import read_image
from descriptors.settings import RegionSettings
from es_mappings.features import FeatureStore
from es_mappings.filters import Ids, Term
from es_mappings.kept_maps import stack_kept
from es_mappings.local import LocalGallery
from indexer.encoding import encode_documents
from indexer.pipeline import index_pictures
from indexer.reading import IndexingPlan
from indexer.sources import Source
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.support.pictures import encoded, shapes
from tests.support.tiny_network import tiny_method
from tests.support.tolerances import EIGHT_BIT, WHITENED

COUNT = 21
SIZES = ((64, 48), (48, 64), (120, 120))
# Regions small enough for working sizes of 64 pixels, and no more classes than the network has.
REGIONS = RegionSettings(n_classes=3, least_side=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def method():
    return tiny_method()


@pytest.fixture(scope="module")
def root(tmp_path_factory, method):
    """A folder with a gallery of pictures of three shapes, every third in Köln."""
    root = tmp_path_factory.mktemp("house")
    sources = []
    for i in range(COUNT):
        path = root / f"{i:02d}.png"
        path.write_bytes(encoded(shapes(*SIZES[i % 3], seed=i, count=4)))
        city = "Köln" if i % 3 == 0 else "Bonn"
        sources.append(Source(f"{i:02d}", str(path), {"city": city}))
    store = FeatureStore(str(root / "maps"), method.fingerprint())
    with LocalGallery.create(root / "gallery", method.settings.dims, method.fingerprint(), {}) as g:
        assert index_pictures(sources, method, g, store).indexed == COUNT
    store.close()
    return root


@pytest.fixture(scope="module")
def gallery(root):
    with LocalGallery.open(root / "gallery") as opened:
        yield opened


@pytest.fixture(scope="module")
def store(root, method):
    opened = FeatureStore(str(root / "maps"), method.fingerprint())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def searcher(method, gallery, store):
    return Searcher(method, gallery, store, REGIONS)


@pytest.fixture(scope="module")
def forgetful(method, gallery, store):
    """Expands with regions and forgets them in the second search, as the paper does."""
    as_published = {
        "expand_with_regions": True,
        "remember_regions": False,
        "expand_neighbours": 0,
    }
    return Searcher(method, gallery, store, REGIONS.model_copy(update=as_published))


@pytest.fixture(scope="module")
def plain(method, gallery, store):
    """Expands with the first hits alone, and remembers regions."""
    return Searcher(method, gallery, store, REGIONS.model_copy(update={"expand_neighbours": 0}))


@pytest.fixture(scope="module")
def query(method, root):
    """A part of the first picture, by a box."""
    return method.describe_query(picture(root, 0), REGIONS, Box(8, 4, 50, 44))


def picture(root, number):
    return read_image((root / f"{number:02d}.png").read_bytes())


def cosines(gallery, vector):
    """All cosines, one by one, by id."""
    vector = np.asarray(vector, dtype=np.float64)
    vector /= np.linalg.norm(vector)
    return {d.id: float(d.descriptor.astype(np.float64) @ vector) for d in gallery.documents()}


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


def match(method, query, store, document):
    """The best region of one document by itself, and the box it stands for."""
    kept = store.get({document.id: document.digest})[document.id]
    maps = stack_kept([kept.averaged()], CPU)
    (found,) = method.match_regions(query, maps, REGIONS)
    size = Size(document.width, document.height)
    return found, box_of_region(found.region, size, maps.grid(maps.finest))


# ------------------------------------------------------- first search


class TestFirstSearch:
    def test_it_is_the_brute_force_order(self, searcher, gallery, query):
        expected = cosines(gallery, query.descriptor)
        ranking = searcher.search(query, SearchPlan(k=COUNT))
        assert ids(ranking.hits) == in_order(expected)
        for hit in ranking.hits:
            assert hit.score == pytest.approx(expected[hit.document.id], abs=1e-6)

    def test_a_hit_says_all_of_itself(self, searcher, gallery, query):
        ranking = searcher.search(query, SearchPlan(k=3))
        assert ranking.first == ranking.hits
        assert [hit.rank for hit in ranking.hits] == [1, 2, 3]
        for hit in ranking.hits:
            assert (hit.first_rank, hit.first_score, hit.box) == (hit.rank, hit.score, None)
            assert hit.document.uri.endswith(f"{hit.document.id}.png")
        assert ranking.warnings == ()
        assert list(ranking.milliseconds) == ["first_search", "documents"]
        assert min(ranking.milliseconds.values()) >= 0

    def test_a_picture_finds_itself_first(self, searcher, method, root):
        for number in (0, 1, 2, 17):
            whole = method.describe_query(picture(root, number), REGIONS)
            first = searcher.search(whole, SearchPlan(k=1)).hits[0]
            assert first.document.id == f"{number:02d}"
            assert first.score == pytest.approx(1, abs=1e-3)

    @pytest.mark.parametrize("plan", [SearchPlan(), SearchPlan(window=9), SearchPlan(expand=2)])
    def test_one_may_be_left_out(self, searcher, query, plan):
        everything = searcher.search(query, plan)
        unwanted = everything.hits[0].document.id
        ranking = searcher.search(query, replace(plan, leave_out=unwanted))
        for hits in (ranking.hits, ranking.first):
            assert unwanted not in ids(hits)
            assert len(hits) == 10

    def test_leaving_out_what_would_not_come_changes_nothing(self, searcher, query):
        plan = SearchPlan(k=5, leave_out="unknown")
        assert ids(searcher.search(query, plan).hits) == (
            ids(searcher.search(query, SearchPlan(k=5)).hits)
        )

    def test_only_what_matches_comes(self, searcher, gallery, query):
        plan = SearchPlan(k=COUNT, matching=Term("meta.city", "Köln"))
        expected = cosines(gallery, query.descriptor)
        koeln = {id_: expected[id_] for id_ in expected if int(id_) % 3 == 0}
        assert ids(searcher.search(query, plan).hits) == in_order(koeln)

    @pytest.mark.parametrize("window", [0, 5, 1000])
    @pytest.mark.parametrize("expand", [0, 3, 1000])
    def test_more_may_be_asked_for_than_there_is(self, searcher, query, window, expand):
        ranking = searcher.search(query, SearchPlan(1000, window=window, expand=expand))
        assert sorted(ids(ranking.hits)) == sorted(ids(ranking.first))
        assert len(ranking.hits) == COUNT

    @pytest.mark.parametrize("plan", [SearchPlan(), SearchPlan(window=9, expand=2, alpha=1.0)])
    def test_an_empty_gallery_answers_with_nothing(self, method, tmp_path, query, plan):
        dims, fingerprint = method.settings.dims, method.fingerprint()
        with LocalGallery.create(tmp_path, dims, fingerprint, {}) as empty:
            ranking = Searcher(method, empty, None, REGIONS).search(query, plan)
        assert (ranking.hits, ranking.first, ranking.warnings) == ((), (), ())

    def test_a_filter_that_nothing_matches(self, searcher, query):
        plan = SearchPlan(window=5, expand=5, matching=Term("meta.city", "Rom"))
        assert searcher.search(query, plan).hits == ()


class TestPlan:
    @pytest.mark.parametrize("k", [0, -1])
    def test_no_hits_are_no_search(self, k):
        with pytest.raises(RequestError, match="at least 1"):
            SearchPlan(k)

    @pytest.mark.parametrize("said", [{"window": -1}, {"expand": -1}, {"alpha": -0.5}])
    def test_negative_numbers_are_refused(self, said):
        with pytest.raises(RequestError, match="0 turns each off"):
            SearchPlan(**said)


# ------------------------------------------------------- re-ranking


class TestRerank:
    def test_only_the_window_is_permuted(self, searcher, query):
        for window in (1, 2, 7, 20):
            ranking = searcher.search(query, SearchPlan(k=COUNT, window=window))
            before, after = ids(ranking.first), ids(ranking.hits)
            assert sorted(after[:window]) == sorted(before[:window])
            assert after[window:] == before[window:]

    def test_the_order_changes_at_all(self, searcher, query):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
        assert ids(ranking.first) != ids(ranking.hits)

    def test_a_hit_has_the_score_and_the_box_of_its_best_region(
        self, searcher, method, store, query
    ):
        window = 12
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=window))
        for hit in ranking.hits[:window]:
            found, box = match(method, query, store, hit.document)
            WHITENED.check(found.score, hit.score, hit.document.id)
            assert hit.box == box
        scores = [hit.score for hit in ranking.hits[:window]]
        assert scores == sorted(scores, reverse=True)

    def test_the_others_keep_their_first_score_and_have_no_box(self, searcher, query):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=5))
        assert [hit.rank for hit in ranking.hits] == list(range(1, COUNT + 1))
        for hit in ranking.hits[5:]:
            assert hit.box is None
            assert (hit.score, hit.rank) == (hit.first_score, hit.first_rank)

    def test_a_hit_remembers_its_first_place_and_score(self, searcher, query):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
        first = {hit.document.id: hit for hit in ranking.first}
        for hit in ranking.hits:
            assert hit.first_rank == first[hit.document.id].rank
            assert hit.first_score == first[hit.document.id].score

    def test_boxes_lie_inside_their_pictures(self, searcher, method, root):
        for number in range(0, COUNT, 4):
            query = method.describe_query(picture(root, number), REGIONS)
            ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
            smaller = 0
            for hit in ranking.hits:
                box, size = hit.box, Size(hit.document.width, hit.document.height)
                assert box == box.inside(size)
                smaller += (box.x1 - box.x0) * (box.y1 - box.y0) < size.width * size.height
            assert smaller > 0

    def test_the_window_reaches_beyond_the_hits_wanted(self, searcher, query):
        few = searcher.search(query, SearchPlan(k=3, window=COUNT))
        all_of_them = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
        assert ids(few.hits) == ids(all_of_them.hits)[:3]
        assert ids(few.first) == ids(all_of_them.first)[:3]

    def test_without_regions_it_is_the_whole_picture_with_the_query_s_classes(
        self, searcher, method, store, query
    ):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT, regions=False))
        for hit in ranking.hits:
            document = hit.document
            assert hit.box == Box(0, 0, document.width, document.height)
            kept = store.get({document.id: document.digest})[document.id]
            maps = stack_kept([kept.averaged()], CPU)
            alone = method.describe_classes(maps.floating(torch.float32), query.classes[None, :3])
            WHITENED.check(float(alone[0, 0] @ query.region_descriptor), hit.score, document.id)

    def test_only_what_matches_is_re_ranked(self, searcher, query):
        plan = SearchPlan(k=COUNT, window=COUNT, matching=Ids(("03", "04", "05")))
        ranking = searcher.search(query, plan)
        assert sorted(ids(ranking.hits)) == ["03", "04", "05"]

    def test_a_hit_without_a_usable_region_keeps_its_first_score(
        self, method, gallery, store, query
    ):
        # No region is as large as that, and the whole picture does not count.
        regions = REGIONS.model_copy(update={"least_side": 4000, "whole_picture": False})
        ranking = Searcher(method, gallery, store, regions).search(query, SearchPlan(window=10))
        assert ids(ranking.hits) == ids(ranking.first)
        assert ranking.warnings == ()
        for hit in ranking.hits:
            assert (hit.score, hit.box) == (hit.first_score, None)


# ------------------------------------------------------- maps that are not kept


class TestMissingMaps:
    @pytest.fixture
    def encode(self, method):
        """What a library gives the searcher, and what it was asked for."""

        def encode(documents):
            encode.asked += [document.id for document in documents]
            return encode_documents(documents, method, IndexingPlan(batch_size=4))

        encode.asked = []
        return encode

    def test_recomputed_maps_give_the_same_answer(self, searcher, method, gallery, query, encode):
        plan = SearchPlan(k=COUNT, window=COUNT)
        kept = searcher.search(query, plan)
        made = Searcher(method, gallery, None, REGIONS, encode).search(query, plan)
        assert sorted(encode.asked) == sorted(ids(kept.hits))
        assert made.warnings == ()
        scores = {hit.document.id: hit.score for hit in kept.hits}
        for hit in made.hits:
            EIGHT_BIT.check(scores[hit.document.id], hit.score, hit.document.id)

    def test_only_what_is_not_kept_is_recomputed(self, method, gallery, root, query, encode):
        partly = partial_store(root, method, gallery, leave_out=["02", "05", "07"])
        searcher = Searcher(method, gallery, partly, REGIONS, encode)
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
        assert sorted(encode.asked) == ["02", "05", "07"]
        assert ranking.warnings == ()
        assert all(hit.box is not None for hit in ranking.hits)
        partly.close()

    def test_maps_of_an_older_version_are_recomputed(
        self, method, root, tmp_path, store, query, encode
    ):
        with copied_gallery(root, tmp_path) as changed:
            document = changed.get(["03"])["03"]
            changed.put([replace(document, digest="e" * 64)])
            searcher = Searcher(method, changed, store, REGIONS, encode)
            searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
        assert encode.asked == ["03"]

    def test_nothing_is_recomputed_outside_the_window(self, method, gallery, query, encode):
        searcher = Searcher(method, gallery, None, REGIONS, encode)
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=4))
        assert sorted(encode.asked) == sorted(ids(ranking.first)[:4])

    @pytest.mark.parametrize("can_encode", [True, False])
    def test_hits_without_maps_keep_their_first_score_and_it_is_said_once(
        self, method, root, tmp_path, query, encode, can_encode
    ):
        with copied_gallery(root, tmp_path) as changed:
            for id_, document in changed.get(["02", "05"]).items():
                changed.put([replace(document, uri=f"/nowhere/{id_}.png")])
            partly = partial_store(root, method, changed, leave_out=["02", "05"])
            searcher = Searcher(method, changed, partly, REGIONS, encode if can_encode else None)
            ranking = searcher.search(query, SearchPlan(k=COUNT, window=COUNT))
            partly.close()
        assert len(ranking.hits) == COUNT
        lost = {hit.document.id for hit in ranking.hits if hit.box is None}
        assert lost == {"02", "05"}
        for hit in ranking.hits:
            if hit.document.id in lost:
                assert hit.score == hit.first_score
        (warning,) = ranking.warnings
        assert warning.startswith(f"2 of {COUNT} hits keep their first score")

    def test_without_any_maps_the_first_order_stays(self, method, gallery, query):
        ranking = Searcher(method, gallery, None, REGIONS).search(query, SearchPlan(window=10))
        assert ids(ranking.hits) == ids(ranking.first)
        assert len(ranking.warnings) == 1
        assert not any(hit.box for hit in ranking.hits)


def partial_store(root, method, gallery, leave_out):
    """The kept maps of all but some."""
    place = root / "partial"
    for path in place.rglob("*.maps"):
        path.unlink()
    whole = FeatureStore(str(root / "maps"), method.fingerprint())
    partly = FeatureStore(str(place), method.fingerprint())
    for document in gallery.documents():
        if document.id not in leave_out:
            partly.put({document.id: Path(whole.path_of(document.id)).read_bytes()})
    whole.close()
    return partly


def copied_gallery(root, folder, kind=LocalGallery):
    """A gallery of the same documents, to be changed."""
    with LocalGallery.open(root / "gallery") as original:
        copy = kind.create(folder / "copy", original.dims, original.fingerprint, {})
        copy.put(list(original.documents()))
    return copy


# ------------------------------------------------------- expansion


class TestExpansion:
    @pytest.mark.parametrize("n", [1, 3, COUNT])
    def test_the_query_plus_the_first_hits_is_searched_again(self, plain, gallery, query, n):
        plan = SearchPlan(k=COUNT, expand=n)
        ranking = plain.search(query, plan)
        best = [hit.document.descriptor for hit in ranking.first[:n]]
        expected = cosines(gallery, query.descriptor.numpy() + np.sum(best, axis=0))
        assert ids(ranking.hits) == in_order(expected)
        for hit in ranking.hits:
            assert hit.score == pytest.approx(expected[hit.document.id], abs=1e-5)

    @pytest.mark.parametrize("alpha", [0.5, 3.0])
    def test_alpha_weighs_each_hit_by_its_cosine(self, plain, gallery, query, alpha):
        ranking = plain.search(query, SearchPlan(k=COUNT, expand=5, alpha=alpha))
        expanded = query.descriptor.numpy().astype(np.float64)
        for hit in ranking.first[:5]:
            expanded = expanded + max(hit.first_score, 0) ** alpha * hit.document.descriptor
        expected = cosines(gallery, expanded)
        assert ids(ranking.hits) == in_order(expected)
        for hit in ranking.hits:
            assert hit.score == pytest.approx(expected[hit.document.id], abs=1e-5)

    def test_a_re_ranked_hit_gives_its_best_region(self, forgetful, method, gallery, store, query):
        """The paper's way: docs/method.md section 5."""
        searcher = forgetful
        plan = SearchPlan(k=COUNT, window=6, expand=4)
        reordered = searcher.search(query, replace(plan, expand=0))
        found = [match(method, query, store, hit.document)[0] for hit in reordered.hits[:4]]
        regions = np.sum([one.descriptor.numpy() for one in found], axis=0)
        expected = cosines(gallery, query.descriptor.numpy() + regions)
        ranking = searcher.search(query, plan)
        for hit in ranking.hits:
            WHITENED.check(expected[hit.document.id], hit.score, hit.document.id)

    def test_indexed_descriptors_expand_and_best_regions_count(
        self, plain, method, gallery, store, query
    ):
        """docs/adr/0006."""
        plan = SearchPlan(k=COUNT, window=6, expand=4)
        reordered = plain.search(query, replace(plan, expand=0)).hits
        added = np.sum([hit.document.descriptor for hit in reordered[:4]], axis=0)
        expanded = query.descriptor.numpy() + added
        expanded /= np.linalg.norm(expanded)
        expected = cosines(gallery, expanded)
        for hit in reordered[:6]:
            region = match(method, query, store, hit.document)[0].descriptor.numpy()
            i = hit.document.id
            expected[i] = max(expected[i], float(region @ expanded))
        ranking = plain.search(query, plan)
        assert len(ranking.hits) == COUNT
        for hit in ranking.hits:
            WHITENED.check(expected[hit.document.id], hit.score, hit.document.id)

    @pytest.mark.parametrize("plan", [SearchPlan(k=4, expand=3), SearchPlan(8, 6, expand=3)])
    def test_by_default_hits_that_diffusion_reaches_expand(
        self, searcher, method, gallery, store, query, plan
    ):
        """docs/adr/0014; the walk step by step, over all hits of the first search, in their order.

        A re-ranked hit stands there as its whole picture with the query's classes.
        """
        order = searcher.search(query, replace(plan, k=COUNT, expand=0)).hits
        found = np.stack([hit.document.descriptor for hit in order]).astype(np.float64)
        for row, hit in enumerate(order[: plan.window]):
            found[row] = match(method, query, store, hit.document)[0].whole.numpy()
        weights = walked(found, query.descriptor.numpy(), plan.expand)
        weights[np.argsort(-weights)[REGIONS.expand_most :]] = 0
        expected = cosines(gallery, query.descriptor.numpy() + weights @ found)
        again = {h.document.id: h.score for h in searcher.search(query, plan).hits}
        assert len(again) == plan.k
        for id_, score in again.items():
            if plan.window:
                assert score >= expected[id_] - 1e-4
            else:
                assert score == pytest.approx(expected[id_], abs=1e-4)

    def test_it_is_another_answer_than_without_re_ranking(self, searcher, query):
        with_regions = searcher.search(query, SearchPlan(k=COUNT, window=6, expand=4))
        without = searcher.search(query, SearchPlan(k=COUNT, expand=4))
        assert [hit.score for hit in with_regions.hits] != [hit.score for hit in without.hits]

    def test_where_the_window_ends_hits_give_their_whole_descriptor(
        self, forgetful, method, gallery, store, query
    ):
        searcher = forgetful
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=2, expand=4))
        reordered = searcher.search(query, SearchPlan(k=COUNT, window=2)).hits
        regions = [match(method, query, store, hit.document)[0].descriptor for hit in reordered[:2]]
        whole = [hit.document.descriptor for hit in reordered[2:4]]
        added = np.sum([one.numpy() for one in regions], axis=0) + np.sum(whole, axis=0)
        expected = cosines(gallery, query.descriptor.numpy() + added)
        for hit in ranking.hits:
            WHITENED.check(expected[hit.document.id], hit.score, hit.document.id)

    def test_boxes_found_on_the_way_stay_with_their_hits(self, searcher, query):
        ranking = searcher.search(query, SearchPlan(k=COUNT, window=7, expand=3))
        boxes = searcher.search(query, SearchPlan(k=COUNT, window=7)).hits
        expected = {hit.document.id: hit.box for hit in boxes}
        assert {hit.document.id: hit.box for hit in ranking.hits} == expected
        assert sum(box is not None for box in expected.values()) == 7

    def test_a_hit_that_only_the_expansion_found_has_no_first_place(
        self, searcher, query, monkeypatch
    ):
        # Let the first search bring no more than the 4 asked for; the second may bring others.
        monkeypatch.setattr("reranker.ranking.GRAPH_HITS", 4)
        new = []
        for n in (1, 2, 3, 4):
            ranking = searcher.search(query, SearchPlan(k=4, expand=n))
            known = {hit.document.id: hit for hit in ranking.first}
            for hit in ranking.hits:
                if hit.document.id in known:
                    assert hit.first_rank == known[hit.document.id].rank
                else:
                    new.append(hit)
        assert new
        assert {(hit.first_rank, hit.first_score, hit.box) for hit in new} == {(None, None, None)}

    def test_the_second_search_keeps_to_the_filter(self, searcher, gallery, query):
        plan = SearchPlan(k=COUNT, window=3, expand=5, matching=Term("meta.city", "Köln"))
        hits = ids(searcher.search(query, plan).hits)
        assert sorted(hits) == [f"{i:02d}" for i in range(0, COUNT, 3)]

    def test_more_hits_may_expand_than_are_wanted(self, searcher, gallery, query):
        few = searcher.search(query, SearchPlan(k=2, expand=9))
        many = searcher.search(query, SearchPlan(k=COUNT, expand=9))
        assert ids(few.hits) == ids(many.hits)[:2]
        assert len(few.first) == 2

    def test_each_stage_is_timed(self, searcher, query):
        took = searcher.search(query, SearchPlan(window=3, expand=2)).milliseconds
        assert list(took) == ["first_search", "rerank", "expand", "documents"]


# ------------------------------------------------------- others at the same time


class Vanishing(LocalGallery):
    """A gallery from which somebody deletes pictures right after each search."""

    doomed: tuple[str, ...] = ()

    def knn(self, vector, k, matching=None):
        hits = super().knn(vector, k, matching)
        self.delete(self.doomed)
        return hits


class TestDeletedMeanwhile:
    @pytest.mark.parametrize(
        "plan",
        [
            SearchPlan(k=COUNT),
            SearchPlan(k=COUNT, window=COUNT),
            SearchPlan(k=COUNT, window=2),
            SearchPlan(k=COUNT, expand=4),
            SearchPlan(k=COUNT, window=4, expand=8),
        ],
        ids=repr,
    )
    def test_deleted_hits_are_left_out(self, method, root, tmp_path, store, query, plan):
        with copied_gallery(root, tmp_path, Vanishing) as gallery:
            before = Searcher(method, gallery, store, REGIONS).search(query, plan)
            gallery.doomed = tuple(ids(before.first)[:2])
            ranking = Searcher(method, gallery, store, REGIONS).search(query, plan)
        left = [id_ for id_ in ids(before.first) if id_ not in gallery.doomed]
        assert sorted(ids(ranking.hits)) == sorted(left)
        assert [hit.rank for hit in ranking.hits] == list(range(1, len(left) + 1))
        assert ids(ranking.first) == left
        assert ranking.warnings == ()

    def test_all_of_them(self, method, root, tmp_path, store, query):
        with copied_gallery(root, tmp_path, Vanishing) as gallery:
            gallery.doomed = tuple(f"{i:02d}" for i in range(COUNT))
            plan = SearchPlan(k=COUNT, window=5, expand=3)
            ranking = Searcher(method, gallery, store, REGIONS).search(query, plan)
        assert (ranking.hits, ranking.first, ranking.warnings) == ((), (), ())
