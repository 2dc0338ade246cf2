"""Which images are found, by folder and by manifest, and how their bytes are had or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from descriptors.errors import ImageTooLarge, RequestError
from descriptors.images import ImageLimits
from galleries.checks import fits_as_id
from indexer import sources
from indexer.addresses import read_source, source_tag
from indexer.errors import MalformedRow, SourceUnreadable
from indexer.manifests import read_manifest
from indexer.sources import IMAGE_SUFFIXES, Skipped, find_images

LIMITS = ImageLimits()
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


def manifest(folder, text, name="images.csv"):
    """What a manifest of this text names."""
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, encoding="utf-8")
    return list(read_manifest(path))


def jsonl(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return manifest(folder, "\n".join(lines), "images.jsonl")


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
        assert read_source(a.uri, LIMITS) == b""

    def test_a_path_of_512_bytes_is_an_id_and_one_of_513_is_not(self, tmp_path):
        folder = tmp_path / ("d" * 200) / ("e" * 100)
        room = 512 - len(os.fsencode(folder)) - len("/.jpg")
        touch(folder, "x" * room + ".jpg", "x" * (room + 1) + ".jpg")
        longer, fitting = sorted(find_images([folder]), key=lambda s: s.id == s.uri)
        assert len(fitting.id) == 512
        assert longer.id.startswith("sha256-")


class TestManifest:
    def test_rows_become_sources(self, tmp_path):
        text = "id,path,city,year\nA1,in/a.jpg,Köln,1999\nA2,/photos/b.jpg,,\n"
        first, second = manifest(tmp_path, text)
        assert (first.id, first.uri) == ("A1", str(tmp_path / "in" / "a.jpg"))
        assert first.meta == {"city": "Köln", "year": 1999}
        assert (second.id, second.uri, second.meta) == ("A2", "/photos/b.jpg", {})
        assert first.problem is second.problem is None

    def test_without_an_id_the_path_is_it(self, tmp_path):
        first, second = manifest(tmp_path, "path,id\na.jpg,\nsub/../b.jpg\n")
        assert first.id == first.uri == str(tmp_path / "a.jpg")
        assert second.id == second.uri == str(tmp_path / "b.jpg")

    def test_addresses_stay_as_they_are(self, tmp_path):
        rows = manifest(tmp_path, "uri,path\nmemory://a/b.jpg,\ns3://bucket/../c.jpg,ignored.jpg\n")
        assert [source.uri for source in rows] == ["memory://a/b.jpg", "s3://bucket/../c.jpg"]
        assert [source.id for source in rows] == [source.uri for source in rows]
        assert rows[1].meta == {}

    def test_a_cell_is_a_number_where_it_reads_exactly_like_one(self, tmp_path):
        texts = ["007", "+49 221", "1.50", "1,000", " 12", "1e5", "1e+20", "1" * 30]
        texts += ["nan", "-inf", "true", "null", "٣", "-0", "--", "9" * 5000]
        numbers = {"12": 12, "-3": -3, "0": 0, "-0.25": -0.25, "1.0": 1.0}
        for cell, value in (dict(zip(texts, texts, strict=True)) | numbers).items():
            (source,) = manifest(tmp_path, f'path,x\na.jpg,"{cell}"\n')
            assert (type(source.meta["x"]), source.meta) == (type(value), {"x": value})

    def test_quotes_and_line_breaks_in_cells(self, tmp_path):
        text = 'path,note\r\n"a, ""b"".jpg","two\nlines"\r\nb.jpg,x\r\n'
        first, second = manifest(tmp_path, text)
        assert first.uri == str(tmp_path / 'a, "b".jpg')
        assert first.meta == {"note": "two\nlines"}
        assert second.meta == {"note": "x"}

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self, tmp_path):
        for name, text in (("p.csv", "path\na.jpg\n"), ("p.jsonl", '{"path": "a.jpg"}\n')):
            (source,) = manifest(tmp_path, text.encode("utf-8-sig"), name)
            assert source.uri == str(tmp_path / "a.jpg")

    def test_a_manifest_without_rows(self, tmp_path):
        assert manifest(tmp_path, "path\n") == []
        assert jsonl(tmp_path, "", "  ", "\t") == []


class TestMalformedRows:
    """One row that names no image is a problem of its own; the others are as if it were not."""

    def assert_only_second_is_malformed(self, sources, folder, why):
        first, bad, last = sources
        assert (first.problem, last.problem) == (None, None)
        assert isinstance(bad.problem, MalformedRow)
        assert why in bad.problem.reason
        assert "Line " in bad.problem.reason
        assert "fix that line" in bad.problem.reason
        assert bad.id.startswith(str(folder))
        assert len({source.id for source in sources}) == 3

    def test_of_csv(self, tmp_path):
        for row, why in [
            (",,x", "no 'path'"),
            ("only-id", "no 'path'"),
            ("one,again.jpg,x", "is already in an earlier row"),
            (f"{'x' * 513},b.jpg", "512 bytes"),
            ("two,b.jpg,x,y", "more cells than the first line"),
        ]:
            sources = manifest(tmp_path, f"id,path,note\none,a.jpg,x\n{row}\nthree,c.jpg,x\n")
            self.assert_only_second_is_malformed(sources, tmp_path, why)

    def test_of_jsonl(self, tmp_path):
        for row, why in [
            ("{", "not a JSON object"),
            ("null", "not a JSON object"),
            ("[" * 100_000, "not a JSON object"),
            ('{"path": "b.jpg", "x": NaN}', "finite numbers"),
            ('{"path": "b.jpg", "x": "\\ud800"}', "Unicode"),
            ('{"path": "\\udcff.jpg"}', "Unicode"),
            ({"id": "b", "path": ""}, "no 'path'"),
            ({"path": ["b.jpg"]}, "no 'path'"),
            ({"path": True}, "no 'path'"),
            ({"id": "", "path": "b.jpg"}, "512 bytes"),
            ({"id": [1], "path": "b.jpg"}, "512 bytes"),
            ({"id": "é" * 257, "path": "b.jpg"}, "512 bytes"),
            ({"id": "one", "path": "b.jpg"}, "is already in an earlier row"),
        ]:
            sources = jsonl(tmp_path, {"id": "one", "path": "a.jpg"}, row, {"path": "c.jpg"})
            self.assert_only_second_is_malformed(sources, tmp_path, why)

    def test_numbers_stand_for_text_and_metadata_is_kept_whole(self, tmp_path):
        meta = {"tags": ["a", 1, None, {"b": [True]}], "n": 2**80, "": "no name"}
        row = {"id": 7, "path": 12, "uri": None} | meta
        source, again = jsonl(tmp_path, row, {"id": "7", "path": "b.jpg"})
        assert (source.id, source.uri) == ("7", str(tmp_path / "12"))
        assert source.meta == meta
        assert isinstance(again.problem, MalformedRow)

    @pytest.mark.parametrize("folder", ["x" * 250, os.fsdecode(b"caf\xe9")])
    def test_in_a_manifest_of_an_odd_place(self, tmp_path, folder):
        place = tmp_path / folder / ("y" * 250)
        place.mkdir(parents=True)
        bad, fine = jsonl(place, "{", {"id": "a", "path": str(tmp_path / "a.jpg")})
        assert fits_as_id(bad.id)
        bad.uri.encode()
        bad.problem.reason.encode()
        assert (fine.id, fine.problem) == ("a", None)

    def test_relative_paths_from_a_folder_that_is_not_utf8(self, tmp_path):
        place = tmp_path / os.fsdecode(b"caf\xe9")
        place.mkdir()
        (source,) = jsonl(place, {"id": "a", "path": "a.jpg"})
        assert "not UTF-8" in source.problem.reason
        assert source.id.encode()


class TestUnreadableManifests:
    def test_a_csv_is_refused_in_a_sentence(self, tmp_path):
        for text, why in [
            ("", "no column 'path'"),
            ("id,file\na,b.jpg\n", "no column 'path'"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe", "cannot be read .*UTF-8"),
            ('path,x\na.jpg,"never closed\nb.jpg,x\n', "cannot be read .*unexpected end"),
            (bytes(2000), "NUL bytes"),
        ]:
            with pytest.raises(RequestError, match=why):
                manifest(tmp_path, text)

    def test_a_jsonl_is_refused_in_a_sentence(self, tmp_path):
        for data in (b"\xff\xfe\0a", b'{"path": "b\xe4r.jpg"}'):
            with pytest.raises(RequestError, match=r"cannot be read .*UTF-8"):
                manifest(tmp_path, data, "p.jsonl")

    def test_one_that_is_not_there_or_no_file(self, tmp_path):
        for name in ("gone.csv", "gone.jsonl"):
            with pytest.raises(RequestError, match=r"There is no manifest .*check its path"):
                list(read_manifest(tmp_path / name))
        (tmp_path / "folder").mkdir()
        for name in ("folder", "x" * 300):
            with pytest.raises(RequestError):
                list(read_manifest(tmp_path / name))


class TestReading:
    def test_a_large_file_is_refused_before_it_is_read(self, tmp_path):
        # It has no bytes on the disk and more than the memory holds.
        large = tmp_path / "large.jpg"
        large.touch()
        os.truncate(large, 2**40)
        with pytest.raises(ImageTooLarge, match=r"1,099,511,627,776 bytes.*104,857,600 allowed"):
            read_source(str(large), LIMITS)


class TestTags:
    def test_a_tag_changes_with_size_and_with_time(self, tmp_path):
        path = tmp_path / "a.jpg"
        path.write_bytes(b"1")
        os.utime(path, ns=(10, 10))
        first = source_tag(str(path))
        path.write_bytes(b"22")
        os.utime(path, ns=(10, 10))
        assert source_tag(str(path)) != first
        path.write_bytes(b"2")
        os.utime(path, ns=(10, 11))
        assert source_tag(str(path)) != first
