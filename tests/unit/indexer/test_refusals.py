"""What a refusal leaves, and when it is tried again: sequences of runs on the local gallery.

More of it: `CAMSEARCH_TEST_CASES=10000 pytest tests/unit/indexer/test_refusals.py`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descriptors.images import ImageLimits
from indexer import reading
from indexer.errors import SourceUnreadable
from indexer.reading import refusal_tag
from indexer.sources import Source
from tests.support.pictures import encoded, shapes
from tests.support.tiny_network import tiny_method
from tests.unit.indexer.corpus import House

CASES = int(os.environ.get("CAMSEARCH_TEST_CASES") or 10)
GOOD = [encoded(shapes(64, 48, seed=seed)) for seed in (1, 2)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["good", "damaged", "no JSON", "unreadable"]),
        st.integers(0, 1),  # which bytes
        st.integers(0, 1),  # which metadata
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def method():
    return tiny_method()


def unreadable(*_args):
    raise SourceUnreadable("Permission denied: check that it is readable.")


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_each_image_is_the_newest_accepted_version_or_a_reject(method, steps):
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), method)
        accepted = None
        try:
            for kind, which, title in steps:
                data = GOOD[which][:200] if kind == "damaged" else GOOD[which]
                id_ = house.add("a.png", data)
                meta = {"title": float("nan") if kind == "no JSON" else title}
                read = unreadable if kind == "unreadable" else reading.read_source
                with patch.object(reading, "read_source", read):
                    house.index([Source(id_, id_, meta)])
                if kind == "good":
                    accepted = hashlib.sha256(data).hexdigest(), meta
                    assert house.rejects == {}
                elif kind != "unreadable" or accepted is None:
                    reject = house.rejects[id_]
                    assert (accepted is not None) == ("indexed before stays" in reject.reason)
                found = {i: (one.digest, one.meta) for i, one in house.documents.items()}
                assert found == ({} if accepted is None else {id_: accepted})
                kept = house.features.get({i: digest for i, (digest, _) in found.items()})
                assert kept.keys() == found.keys()
        finally:
            house.close()


def test_a_refusal_changes_with_all_that_it_was_made_of():
    source, limits = Source("a", "/a.png", {"n": 1}), ImageLimits()
    tags = {
        refusal_tag(source, "1", limits, ""),
        refusal_tag(source, "2", limits, ""),
        refusal_tag(Source("a", "/a.png", {"n": 2}), "1", limits, ""),
        refusal_tag(source, "1", ImageLimits(most_bytes=5), ""),
        refusal_tag(source, "1", limits, "another mapping"),
    }
    assert len(tags) == 5
    assert refusal_tag(source, "", limits, "") == ""
