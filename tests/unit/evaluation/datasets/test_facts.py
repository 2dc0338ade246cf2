"""Sizes and digests are read once, kept, and read again only where a file has changed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing

import pytest

from descriptors.arrays import Size
from descriptors.errors import RequestError
from evaluation.datasets import facts
from evaluation.datasets.facts import ImageFacts
from tests.support.images import encoded, letter, shapes, with_orientation


@pytest.fixture
def files(tmp_path):
    """A plain image, one stored turned, and a text."""
    (tmp_path / "a.png").write_bytes(encoded(shapes(40, 30)))
    (tmp_path / "b.jpg").write_bytes(with_orientation(letter(50, 60), 6))
    (tmp_path / "c.jpg").write_text("no image")
    return [tmp_path / name for name in ("c.jpg", "a.png", "b.jpg")]


class TestSizes:
    def test_upright_pixels_or_none(self, files):
        found = ImageFacts(None).sizes(files)
        assert list(found.values()) == [None, Size(40, 30), Size(50, 60)]
        assert list(found) == files

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            ImageFacts(None).sizes([tmp_path / "none.jpg"])


class TestDigests:
    def test_sha256_of_the_bytes(self, files):
        found = ImageFacts(None).digests(files)
        assert found == {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            ImageFacts(None).digests([tmp_path / "none.jpg"])


class TestKept:
    @pytest.fixture
    def told(self):
        return []

    def facts(self, folder, told):
        return ImageFacts(folder, lambda *what: told.append(what))

    def test_nothing_is_read_twice(self, files, tmp_path, told):
        first = self.facts(tmp_path / "kept", told)
        sizes, digests = first.sizes(files), first.digests(files)
        assert told == [("read sizes", 3, 3), ("read photos", 3, 3)]
        told.clear()
        again = self.facts(tmp_path / "kept", told)
        assert (again.sizes(files), again.digests(files)) == (sizes, digests)
        assert told == []

    def test_only_what_is_new_is_read(self, files, tmp_path, told):
        self.facts(tmp_path / "kept", told).digests(files[:2])
        self.facts(tmp_path / "kept", told).digests(files)
        assert told == [("read photos", 2, 2), ("read photos", 1, 1)]

    def test_a_changed_file_is_read_again(self, files, tmp_path, told):
        self.facts(tmp_path / "kept", told).sizes(files)
        files[1].write_bytes(encoded(shapes(44, 33)))
        assert self.facts(tmp_path / "kept", told).sizes(files)[files[1]] == Size(44, 33)
        assert told[-1] == ("read sizes", 1, 1)

    def test_a_file_of_the_same_length_with_another_time_is_read_again(self, files, tmp_path, told):
        before = self.facts(tmp_path / "kept", told).digests(files)[files[0]]
        files[0].write_text("NO IMAGE")
        os.utime(files[0], ns=(1, 1))
        assert self.facts(tmp_path / "kept", told).digests(files)[files[0]] != before

    def test_a_stopped_run_keeps_what_it_read(self, files, tmp_path, monkeypatch):
        monkeypatch.setattr(facts, "PORTION", 1)
        told: list[tuple[str, int, int]] = []

        def stop(*what):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ImageFacts(tmp_path / "kept", stop).sizes(files)
        self.facts(tmp_path / "kept", told).sizes(files)
        assert told == [("read sizes", 1, 2), ("read sizes", 2, 2)]

    def test_a_damaged_file_of_facts(self, files, tmp_path):
        (tmp_path / "photos.sqlite").write_text("this is no database" * 100)
        with pytest.raises(RequestError, match=r"or remove photos\.sqlite"):
            ImageFacts(tmp_path).sizes(files)

    def test_a_place_that_takes_no_more(self, files, tmp_path, monkeypatch):
        """Another process holds the file for longer than is waited."""
        monkeypatch.setattr(facts, "BUSY_SECONDS", 0.01)
        ImageFacts(tmp_path).sizes(files[:1])
        with closing(sqlite3.connect(tmp_path / "photos.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RequestError, match=r"cannot be kept in .*locked"):
                ImageFacts(tmp_path).sizes(files)

    def test_a_place_that_cannot_be_made(self, files):
        with pytest.raises(RequestError, match="cannot be kept in"):
            ImageFacts(files[0] / "below a file").sizes(files)
