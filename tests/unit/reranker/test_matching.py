"""Best regions of hits, many at a time, against one at a time."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from descriptors.arrays import Box, Size, box_of_region
from galleries.kept_maps import stack_kept
from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan
from reranker.matching import Matcher
from tests.support.house import COUNT, REGIONS
from tests.support.tolerances import EIGHT_BIT, WHITENED


@pytest.fixture(scope="module")
def matcher(house, store):
    made = Matcher(house.method, store, REGIONS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def query(house):
    return house.method.describe_query(house.rgb_image(0), REGIONS, Box(8, 4, 50, 44))


@pytest.fixture(scope="module")
def documents(house):
    return list(house.gallery.documents())


class Without:
    def __init__(self, store, documents):
        self.store, self.lacks = store, {one.id for one in documents}

    def get(self, wanted):
        return self.store.get({i: d for i, d in wanted.items() if i not in self.lacks})


class Encoder:
    def __init__(self, method):
        self.method, self.asked = method, []

    def __call__(self, images):
        self.asked.append([one.id for one in images])
        return encode_documents(images, self.method, IndexingPlan(batch_size=4))


def test_many_are_matched_as_one_by_itself(house, matcher, store, query, documents):
    matches = matcher.match(query, documents)
    assert sorted(matches) == [f"{i:02d}" for i in range(COUNT)]
    for document in documents:
        kept = store.get({document.id: document.digest})[document.id]
        maps = stack_kept([kept.averaged()], torch.device("cpu"))
        (alone,) = house.method.match_regions(query, maps, REGIONS)
        size, grid = Size(document.width, document.height), maps.grid(maps.finest)
        found = matches[document.id]
        WHITENED.check(alone.score, found.score, document.id)
        assert found.box == box_of_region(alone.region, size, grid)
        assert [box for box, _ in found.tried] == [
            box_of_region(region, size, grid) for region, _ in alone.tried
        ]
        assert found.score == max(score for _, score in found.tried)
        WHITENED.check(found.score, float(found.descriptor @ query.region_descriptor), document.id)


def test_other_settings_than_its_own(matcher, query, documents):
    whole = REGIONS.model_copy(update={"thresholds": ()})
    matches = matcher.match(query, documents, whole)
    for one in documents:
        assert matches[one.id].box == Box(0, 0, one.width, one.height)
    none = REGIONS.model_copy(update={"min_side": 4000, "whole_image": False})
    assert matcher.match(query, documents, none) == {one.id: None for one in documents}


class TestMissingMaps:
    def test_maps_of_other_bytes_are_none(self, matcher, query, documents):
        changed = replace(documents[0], digest="e" * 64)
        assert sorted(matcher.match(query, [changed, documents[1]])) == [documents[1].id]

    def test_what_is_not_kept_is_encoded_at_once_and_matched(
        self, house, matcher, store, query, documents
    ):
        encode = Encoder(house.method)
        made = Matcher(house.method, Without(store, documents[:3]), REGIONS, encode)
        matches = made.match(query, documents)
        made.close()
        assert encode.asked == [[one.id for one in documents[:3]]]
        for id_, match in matcher.match(query, documents).items():
            EIGHT_BIT.check(match.score, matches[id_].score, id_)

    @pytest.mark.parametrize(("most", "encoded"), [(None, 5), (2, 2), (0, 0)])
    def test_the_number_of_encoded_images_is_limited(self, house, query, documents, most, encoded):
        encode = Encoder(house.method)
        matcher = Matcher(house.method, None, REGIONS, encode, most)
        matches = matcher.match(query, documents[:5])
        matcher.close()
        assert sorted(matches) == [one.id for one in documents[:encoded]]

    def test_an_image_that_cannot_be_read_is_left_out(self, house, query, documents):
        gone = replace(documents[0], uri="/nowhere/x.png")
        matcher = Matcher(house.method, None, REGIONS, Encoder(house.method))
        assert sorted(matcher.match(query, [gone, documents[1]])) == [documents[1].id]
        matcher.close()

    def test_maps_of_images(self, house, store, documents):
        encode = Encoder(house.method)
        matcher = Matcher(house.method, store, REGIONS, encode)
        assert sorted(matcher.maps_of(documents[:4])) == [one.id for one in documents[:4]]
        assert encode.asked == []
        other = replace(documents[0], digest="e" * 64)
        assert sorted(matcher.maps_of([other, documents[1]])) == ["01"]  # another file by now
        assert encode.asked == [["00"]]
        matcher.close()
        matcher = Matcher(house.method, Without(store, documents[:1]), REGIONS, encode)
        assert sorted(matcher.maps_of(documents[:2])) == ["00", "01"]
        matcher.close()


class TestStopping:
    def test_a_stopped_match_is_left_out(self, house, matcher, query, documents):
        assert matcher.match(query, documents, stop=lambda: True) == {}
        encode = Encoder(house.method)
        without = Matcher(house.method, None, REGIONS, encode)
        assert without.match(query, documents, stop=lambda: True) == {}
        without.close()
        assert encode.asked == []

    def test_it_stops_between_two_portions(self, matcher, query, documents):
        asked = iter([False] + [True] * 100)
        lock = threading.Lock()

        def stop():
            with lock:
                return next(asked)

        assert 0 < len(matcher.match(query, documents, stop=stop)) < COUNT
