"""What a refusal leaves, and when it is tried again: sequences of runs on the local gallery.

More of it: `CAMSEARCH_TEST_CASES=10000 pytest tests/unit/indexer/test_refusals.py`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from descriptors.images import ImageLimits
from galleries.errors import DocumentsRefused
from galleries.local import LocalGallery
from indexer import reading
from indexer.errors import SourceUnreadable
from indexer.reading import refusal_tag
from indexer.sources import Source
from tests.support.images import encoded, shapes
from tests.support.tiny_network import tiny_method
from tests.unit.indexer.corpus import House

CASES = int(os.environ.get("CAMSEARCH_TEST_CASES") or 10)
GOOD = [encoded(shapes(64, 48, seed=seed)) for seed in (1, 2)]
CONTENTS = {"good": GOOD[0], "another": GOOD[1], "damaged": GOOD[0][:200]}
NAN = float("nan")
STEPS = st.lists(
    st.fixed_dictionaries(
        {
            # What the file is overwritten with; None leaves it as it is.
            "write": st.sampled_from([None, None, *CONTENTS]),
            "title": st.sampled_from([0, 1, NAN]),
            "is_readable": st.sampled_from([True, True, False]),
            "max_pixels": st.sampled_from([40_000, 40_000, 100]),
            "mapping": st.sampled_from(["", "", "another"]),
            "is_accepted": st.sampled_from([True, True, False]),  # by Elasticsearch, say
        }
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def method():
    return tiny_method()


def unreadable(*_args):
    raise SourceUnreadable("Permission denied: check that it is readable.")


def refusing(method):
    """A method of a gallery that refuses all it is to write, as Elasticsearch may."""

    def refused(self, asked, *args):
        ids = [one if isinstance(one, str) else one.document.id for one in asked]
        if ids:
            raise DocumentsRefused("No.", dict.fromkeys(ids, "Elasticsearch refused it."))
        method(self, asked, *args)

    return refused


@dataclass
class Expected:
    """The rule in a few words, to hold the product against."""

    # Of the newest version that was accepted: its bytes, title and time.
    held: tuple[bytes, int, int] | None = None
    # What the reject was made of; "" for what was not read; None without one.
    refused: object = None

    def run(self, data, time, step):
        title, readable = step["title"], step["is_readable"]
        made_of = (time, str(title), step["max_pixels"], step["mapping"])
        if self.refused == made_of:
            return
        is_same_file = self.held is not None and self.held[2] == time and self.refused is None
        if is_same_file and self.held[1] == title:
            return
        if title is NAN:  # no JSON
            self.refused = made_of
            return
        if not is_same_file:
            if not readable:
                self.refused = "" if self.held is None else self.refused
                return
            if data == CONTENTS["damaged"] or step["max_pixels"] == 100:
                self.refused = made_of
                return
        self.refused = None if step["is_accepted"] else made_of
        if step["is_accepted"]:
            self.held = data, title, time


USUAL = {
    "write": None,
    "title": 0,
    "is_readable": True,
    "max_pixels": 40_000,
    "mapping": "",
    "is_accepted": True,
}


def then(**changed):
    return USUAL | changed


@example(steps=[then(write="good"), then(write="another", is_accepted=False), USUAL])
@example(steps=[then(write="good"), then(write="another", max_pixels=100), USUAL])
@example(steps=[then(write="good"), then(title=1, is_accepted=False), then(mapping="another")])
@example(steps=[then(is_readable=False), then(title=NAN), USUAL, then(is_readable=False)])
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_each_image_is_the_newest_accepted_version_or_a_reject(method, steps):
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        house = House(Path(folder), method)
        stack.callback(house.close)
        expected, data = Expected(), None
        for time, step in enumerate(steps):
            if step["write"] or data is None:
                data, written = CONTENTS[step["write"] or "good"], time
                id_ = house.add("a.png", data)
            with ExitStack() as conditions:
                patched = lambda *what: conditions.enter_context(patch.object(*what))  # noqa: E731
                if not step["is_readable"]:
                    patched(reading, "read_source", unreadable)
                if not step["is_accepted"]:
                    patched(LocalGallery, "put_ready", refusing(LocalGallery.put_ready))
                    patched(LocalGallery, "put_meta", refusing(LocalGallery.put_meta))
                patched(LocalGallery, "meta_mapping", step["mapping"])
                limits = ImageLimits(max_pixels=step["max_pixels"])
                house.index([Source(id_, id_, {"title": step["title"]})], limits=limits)
            before = expected.refused
            expected.run(data, written, step)
            found = {(one.digest, one.meta["title"]) for one in house.documents.values()}
            held = expected.held
            assert found == (set() if held is None else {(sha256(held[0]), held[1])})
            assert len(house.rejects) == (expected.refused is not None)
            assert house.documents or house.rejects
            if expected.refused not in (before, None, ""):
                assert ("indexed before is kept" in house.rejects[id_].reason) == (held is not None)
            house.assert_consistent()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_refusal_changes_with_all_that_it_was_made_of():
    source, limits = Source("a", "/a.png", {"n": 1}), ImageLimits()
    tags = {
        refusal_tag(source, "1", limits, ""),
        refusal_tag(source, "2", limits, ""),
        refusal_tag(Source("a", "/a.png", {"n": 2}), "1", limits, ""),
        refusal_tag(source, "1", ImageLimits(max_bytes=5), ""),
        refusal_tag(source, "1", limits, "another mapping"),
    }
    assert len(tags) == 5
    assert refusal_tag(source, "", limits, "") == ""
