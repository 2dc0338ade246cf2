"""Which images are found in folders, and what is passed over."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from descriptors.errors import RequestError
from descriptors.images import ImageLimits
from galleries.checks import fits_as_id
from indexer import sources
from indexer.addresses import read_source
from indexer.errors import SourceUnreadable
from indexer.sources import IMAGE_SUFFIXES, Skipped, find_images

NOT_UTF8 = os.fsdecode(b"caf\xe9.jpg")


def touch(folder, *names):
    """Empty files below a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names_in(folder):
    """What is found there, relative to it."""
    return [os.path.relpath(source.uri, folder) for source in find_images([folder])]


class TestFolders:
    def test_images_are_found_below_in_order_of_their_names(self, tmp_path):
        touch(tmp_path, "b.jpg", "a.png", "c/2.webp", "c/10.tiff", "d.jpg/e/f.gif")
        assert names_in(tmp_path) == ["a.png", "b.jpg", "c/10.tiff", "c/2.webp", "d.jpg/e/f.gif"]

    def test_an_id_is_the_absolute_path(self, tmp_path, monkeypatch):
        touch(tmp_path, "in/a.jpg")
        monkeypatch.chdir(tmp_path)
        ways = [Path("in"), Path("in/../in/a.jpg"), tmp_path / "in", tmp_path, Path()]
        found = [source for way in ways for source in find_images([way])]
        assert {source.id for source in found} == {str(tmp_path / "in" / "a.jpg")}
        assert len(found) == len(ways)
        assert all(source.uri == source.id and source.problem is None for source in found)

    def test_suffixes_count_in_any_case(self, tmp_path):
        for suffix in IMAGE_SUFFIXES:
            touch(tmp_path, f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}")
        assert len(names_in(tmp_path)) == 3 * len(IMAGE_SUFFIXES)

    def test_other_suffixes_and_hidden_entries_are_passed_over(self, tmp_path):
        touch(
            tmp_path,
            *("notes.txt", "a.jpg.part", "jpg", ".hidden.jpg", ".git/a.jpg", "b/.thumbs/c.jpg"),
            *("._mac.jpg", "visible.jpg"),
        )
        assert names_in(tmp_path) == ["visible.jpg"]

    def test_what_is_passed_over_is_counted(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.txt", "c/d.TXT", "c/e.mov", "README", "._a.jpg")
        touch(tmp_path, "@eaDir/a.jpg", "c/@eaDir/b.jpg", "$RECYCLE.BIN/a.jpg", ".thumbnails/a.jpg")
        touch(tmp_path, "#recycle/a.jpg", "#snapshot/a.jpg", "System Volume Information/a.jpg")
        skipped = Skipped()
        found = list(find_images([tmp_path], skipped=skipped))
        assert [Path(source.uri).name for source in found] == ["a.jpg"]
        assert skipped.suffixes == {".txt": 2, ".mov": 1, "without a suffix": 1}
        assert skipped.names["@eaDir"] == 2
        assert skipped.names["hidden files"] == 1
        first, second = skipped.sentences()
        assert first == "Skipped 4 files that are not images: 2 .txt, 1 without a suffix, 1 .mov."
        assert "2 @eaDir" in second

    def test_heic_is_read_where_its_decoder_is_and_counted_where_it_is_not(
        self, tmp_path, monkeypatch
    ):
        touch(tmp_path, "a.heic", "b.HEIF")
        assert names_in(tmp_path) == ["a.heic", "b.HEIF"]  # the extra is among the test tools
        monkeypatch.setattr(sources, "IMAGE_SUFFIXES", frozenset([".jpg"]))
        skipped = Skipped()
        assert list(find_images([tmp_path], skipped=skipped)) == []
        assert "pip install 'camsearch[heic]'" in list(skipped.sentences())[-1]

    @pytest.mark.parametrize(
        ("glob", "left"),
        [
            ("*_small.jpg", ["a.jpg", "drafts/b.jpg", "x/drafts/c.jpg"]),
            ("drafts", ["a.jpg", "a_small.jpg"]),
            ("drafts/", ["a.jpg", "a_small.jpg"]),
            ("x/*", ["a.jpg", "a_small.jpg", "drafts/b.jpg"]),
        ],
    )
    def test_globs_leave_out_names_and_paths(self, tmp_path, glob, left):
        touch(tmp_path, "a.jpg", "a_small.jpg", "drafts/b.jpg", "x/drafts/c.jpg")
        skipped = Skipped()
        found = find_images([tmp_path], [glob], skipped)
        assert [os.path.relpath(source.uri, tmp_path) for source in found] == left
        assert set(skipped.names) == {f"matching {glob}"}

    def test_what_is_named_itself_is_taken_whatever_its_name(self, tmp_path):
        for name in ["a.jpg", "b", "c.txt", ".hidden.jpg", ".folder/a.jpg"]:
            touch(tmp_path, name)
            (source,) = find_images([tmp_path / name.removesuffix("/a.jpg")])
            assert source.uri == str(tmp_path / name)

    def test_links_to_images_count_and_links_to_folders_do_not(self, tmp_path):
        touch(tmp_path, "real/a.jpg")
        (tmp_path / "link.jpg").symlink_to(tmp_path / "real" / "a.jpg")
        (tmp_path / "loop").symlink_to(tmp_path)
        assert names_in(tmp_path) == ["link.jpg", "real/a.jpg"]

    def test_what_is_not_there_is_said(self, tmp_path):
        (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
        for name in ["nowhere", "nowhere/a.jpg", "a" * 300, "with\0null", "dangling.jpg"]:
            with pytest.raises(RequestError, match=r"There is no file or folder .*check its path"):
                list(find_images([tmp_path / name]))

    def test_a_folder_that_cannot_be_listed_is_not_lost_silently(self, tmp_path):
        touch(tmp_path, "a.jpg", "sub/b.jpg", "z/c.jpg")
        found = find_images([tmp_path])
        first = next(found)
        shutil.rmtree(tmp_path / "sub")  # it goes while the walk is on its way to it
        last, missed = found
        assert [first.problem, last.problem] == [None, None]
        assert missed.id == str(tmp_path / "sub")
        assert isinstance(missed.problem, SourceUnreadable)
        assert "cannot be listed" in missed.problem.reason


class TestOddNames:
    def test_a_name_that_is_not_utf8_becomes_a_problem(self, tmp_path):
        touch(tmp_path, NOT_UTF8, os.fsdecode(b"caf\xe8.jpg"), "fine.jpg")
        fine, odd, other = sorted(find_images([tmp_path]), key=lambda s: s.problem is not None)
        assert fine.problem is None
        assert odd.id != other.id
        assert isinstance(odd.problem, SourceUnreadable)
        assert "caf\N{REPLACEMENT CHARACTER}.jpg" in odd.problem.reason
        assert fits_as_id(odd.id)
        for text in (odd.id, odd.uri, odd.problem.reason):
            text.encode()

    def test_such_a_name_that_is_not_there_is_said_legibly(self, tmp_path):
        with pytest.raises(RequestError) as caught:
            list(find_images([tmp_path / NOT_UTF8]))
        caught.value.reason.encode()

    def test_a_very_long_path_has_a_digest_for_an_id(self, tmp_path):
        folder = tmp_path / ("é" * 100) / ("x" * 200) / ("y" * 200)
        touch(folder, "a.jpg", "b.jpg")
        a, b = find_images([folder])
        assert a.uri == str(folder / "a.jpg")
        assert a.id == f"sha256-{hashlib.sha256(os.fsencode(a.uri)).hexdigest()}"
        assert a.id != b.id
        assert read_source(a.uri, ImageLimits()) == b""

    def test_a_path_of_512_bytes_is_an_id_and_one_of_513_is_not(self, tmp_path):
        folder = tmp_path / ("d" * 200) / ("e" * 100)
        room = 512 - len(os.fsencode(folder)) - len("/.jpg")
        touch(folder, "x" * room + ".jpg", "x" * (room + 1) + ".jpg")
        longer, fitting = sorted(find_images([folder]), key=lambda s: s.id == s.uri)
        assert len(fitting.id) == 512
        assert longer.id.startswith("sha256-")
