"""What a task may hold: each entry becomes a source that a gallery can list, whatever it is."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils import json

from galleries.checks import check_meta, check_reject
from galleries.errors import MalformedDocument
from indexer.documents import make_reject
from indexer.tasks import sources_of
from tests.support.task_values import ENTRIES

CASES = int(os.environ.get("CAMSEARCH_TEST_CASES") or 100)


@settings(max_examples=CASES, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=4))
def test_each_entry_is_a_source_that_can_be_listed(entries):
    carried = json.loads(json.dumps(entries))
    sources = list(sources_of(carried))
    assert len(sources) == len(entries)
    for source in sources:
        with suppress(MalformedDocument):  # which reading lists as a reject
            check_meta(source.id, source.meta)
        check_reject(make_reject(source, "malformed_row", "Why."))


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01T00:00:00+00:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (Decimal("1904.10"), "1904.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_times_decimals_and_uuids_are_text(value, held):
    (source,) = sources_of([{"id": "a", "uri": "/a.jpg", "meta": {"v": [value]}}])
    assert (source.problem, source.meta) == (None, {"v": [held]})


def nested(levels):
    return {} if levels == 0 else {"a": nested(levels - 1)}


def test_what_json_cannot_hold_is_the_problem_of_its_image_alone():
    for value in [b"x", {1}, float("nan"), float("inf"), "\ud800", nested(200)]:
        bad = {"id": "a", "uri": "/a.jpg", "meta": {"v": value}}
        first, second = sources_of([bad, {"id": "b", "uri": "/b.jpg"}])
        assert first.id == "a"
        assert first.problem is not None
        assert second.problem is None


def test_an_id_that_cannot_be_one_is_listed_under_its_digest():
    for id_ in ("é" * 300, "a\ud800"):
        (source,) = sources_of([{"id": id_, "uri": "/a.jpg"}])
        assert source.problem is not None
        check_reject(make_reject(source, "malformed_row", "Why."))
