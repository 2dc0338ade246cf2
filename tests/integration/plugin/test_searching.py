"""The plugin's answers are those of the Python library."""

from __future__ import annotations

import pytest

from galleries.documents import levels_of
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.support.house import COUNT, KNN, REGIONS, first, found_ids, ranked

pytestmark = [pytest.mark.services, pytest.mark.slow]


def vector(house, number=0):
    return house.method.describe_query(house.rgb_image(number), REGIONS).descriptor.numpy()


def test_an_image_stands_for_its_vector(plugin, house):
    plain = {"knn": KNN | {"query_vector": vector(house).tolist()}, "size": COUNT}
    expected = plugin.search(**plain)
    found = plugin.search(**first(house.image(0)))
    assert found["hits"] == expected["hits"]
    assert len(found["hits"]["hits"]) == COUNT
