"""Manifests as spreadsheets and other programs write them."""

from __future__ import annotations

import json
import os
from unicodedata import normalize

import pytest

from descriptors.errors import RequestError
from galleries.checks import fits_as_id
from indexer.csv_manifests import MAX_META_FIELDS
from indexer.errors import MalformedRow
from indexer.manifests import read_manifest
from indexer.sources import find_images


def manifest(folder, text, name="images.csv"):
    """What a manifest of this text names."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_manifest(path))


def jsonl(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return manifest(folder, "\n".join(lines), "images.jsonl")


def rows_of(folder, text, name="images.csv", encoding="utf-8", mapping=None):
    """The file name and metadata of each row, and the warnings."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    warnings: list[str] = []
    sources = list(read_manifest(path, warnings.append, mapping))
    assert [source.problem for source in sources] == [None] * len(sources)
    return [(source.uri.rsplit("/", 1)[1], source.meta) for source in sources], warnings


class TestRows:
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

    def test_a_byte_order_mark_is_no_part_of_a_jsonl(self, tmp_path):
        (source,) = manifest(tmp_path, '{"path": "a.jpg"}\n'.encode("utf-8-sig"), "p.jsonl")
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


class TestUnreadable:
    def test_a_csv_is_refused_in_a_sentence(self, tmp_path):
        for text, why in [
            ("", "no column 'path'"),
            ("id,file\na,b.jpg\n", "no column 'path'"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe", "cannot be read .*UTF-8"),
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


class TestLayout:
    def test_it_is_read_as_it_is_meant(self, tmp_path):
        for text, encoding in (
            ("path;title\na.jpg;A\n", "utf-8"),
            ("path\ttitle\na.jpg\tA\n", "utf-16"),
            ("sep=,\npath,title\na.jpg,A\n", "utf-8-sig"),
            ('"sep=|"\r\npath|title\r\na.jpg|A\r\n', "utf-16"),
            (" Path , title \na.jpg,A\n", "utf-8"),
            ('"PATH";"title"\n"a.jpg";"A"\n', "utf-8-sig"),
            ("\n,,\npath,title\n\na.jpg,A\n,\n , \n", "utf-8"),
            ("path,title\na.jpg,A,,\n", "utf-8"),
        ):
            assert rows_of(tmp_path, text, encoding=encoding) == ([("a.jpg", {"title": "A"})], [])

    def test_a_cell_has_any_length(self, tmp_path):
        text = "x" * 200_000
        assert rows_of(tmp_path, f"path,text\na.jpg,{text}\n")[0] == [("a.jpg", {"text": text})]

    def test_a_quote_inside_a_bare_cell_is_text(self, tmp_path):
        assert rows_of(tmp_path, 'path,t\na.jpg,12" disc\n')[0] == [("a.jpg", {"t": '12" disc'})]

    def test_a_misplaced_quote_is_refused_with_its_line(self, tmp_path):
        for start, line, cell in (("", 3, '"x" y'), ("sep=,\n", 4, '"never closed\nc.jpg,C')):
            with pytest.raises(RequestError, match=rf"line {line} of .*double each quote"):
                rows_of(tmp_path, f"{start}path,t\na.jpg,A\nb.jpg,{cell}\n")

    def test_another_encoding_is_refused_with_the_remedy(self, tmp_path):
        remedy = r"images\.csv (cannot be read as|has).*save it as UTF-8"
        for encoding in ("cp1252", "utf-16-le"):
            with pytest.raises(RequestError, match=remedy):
                rows_of(tmp_path, "path,title\na.jpg,Château\n", encoding=encoding)


class TestColumns:
    def test_columns_without_a_name_are_left_out_with_one_warning(self, tmp_path):
        rows, warnings = rows_of(tmp_path, ",path,title, \n0,a.jpg,A,z\n")
        assert rows == [("a.jpg", {"title": "A"})]
        assert len(warnings) == 1
        assert "2 columns without a name" in warnings[0]

    def test_two_of_one_name_are_refused_with_the_line(self, tmp_path):
        for header in ("path,title, title ", "path,Path"):
            with pytest.raises(RequestError, match=r"Line 1 of .* has two columns .*rename"):
                rows_of(tmp_path, f"{header}\na.jpg,A,B\n")

    def test_a_value_that_is_an_object_too_is_refused(self, tmp_path):
        for order in ("dc.title,dc.title.alt", "dc.title.alt,dc.title"):
            with pytest.raises(RequestError, match=r"'dc\.title' beside 'dc\.title\.alt'.*Rename"):
                rows_of(tmp_path, f"path,{order}\na.jpg,A,B\n")

    def test_dots_that_separate_no_names_are_removed_with_a_warning(self, tmp_path):
        rows, warnings = rows_of(tmp_path, "path,Inv. No.,dc.date\na.jpg,x,y\n")
        assert rows == [("a.jpg", {"Inv No": "x", "dc.date": "y"})]
        assert len(warnings) == 1
        assert "'Inv. No.' is searched as 'meta.Inv No'" in warnings[0]

    def test_more_fields_than_an_index_searches_are_warned_of(self, tmp_path):
        for surplus in (0, 1):
            names = ",".join(f"c{number}" for number in range(MAX_META_FIELDS + surplus))
            assert len(rows_of(tmp_path, f"path,{names}\na.jpg\n")[1]) == surplus


class TestNumbers:
    def test_one_cell_that_is_no_number_makes_the_column_text(self, tmp_path):
        for cells in (["1904.10", "1904.1"], ["1904.1", "12345678901234567"]):
            rows, _ = rows_of(tmp_path, "path,n\na.jpg,{}\nb.jpg,{}\n".format(*cells))
            assert [meta["n"] for _, meta in rows] == cells

    def test_a_column_of_numbers_is_numbers_despite_empty_cells(self, tmp_path):
        rows, _ = rows_of(tmp_path, "path,n\na.jpg,-3.5\nb.jpg,\nc.jpg,12\n")
        assert [meta.get("n") for _, meta in rows] == [-3.5, None, 12]


class TestMapping:
    @pytest.mark.parametrize(
        ("name", "mapping", "value"),
        [
            ("n", {"n": {"type": "keyword"}}, "7"),
            ("dc.n", {"dc": {"properties": {"n": {"type": "date"}}}}, "7"),
            ("dc.n", {"dc.n": {"type": "keyword"}}, "7"),
            ("n", {"n": {"type": "long"}}, 7),
        ],
    )
    def test_a_column_is_read_as_it_is_mapped(self, tmp_path, name, mapping, value):
        text = f"path,{name},m\na.jpg,7,7\nb.jpg,,\n"
        rows, warnings = rows_of(tmp_path, text, mapping=mapping)
        assert rows == [("a.jpg", {name: value, "m": 7}), ("b.jpg", {})]
        assert warnings == []

    def test_text_in_a_column_that_is_mapped_as_numbers_is_warned_of_once(self, tmp_path):
        text = "path,n\na.jpg,7\nb.jpg,1904.2a\nc.jpg,1904.10\n"
        rows, (warning,) = rows_of(tmp_path, text, mapping={"n": {"type": "double"}})
        assert [meta["n"] for _, meta in rows] == ["7", "1904.2a", "1904.10"]
        assert (
            "the column 'n' holds '1904.2a' (line 3), but the gallery maps it as double" in warning
        )
        assert "Rebuild the gallery with --meta-mapping" in warning


@pytest.mark.parametrize(("named", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_a_file_is_found_by_the_other_unicode_form_of_its_name(tmp_path, named, stored):
    folder = tmp_path / normalize(stored, "Musée")
    folder.mkdir()
    (folder / normalize(stored, "Café.jpg")).touch()
    manifest = tmp_path / "m.csv"
    manifest.write_text(normalize(named, "path\nMusée/Café.jpg\n"), encoding="utf-8")
    assert [source.id for source in read_manifest(manifest)] == [
        source.id for source in find_images([folder])
    ]


def test_two_forms_of_one_name_in_a_manifest_are_one_image(tmp_path):
    (tmp_path / normalize("NFD", "é.jpg")).touch()
    manifest = tmp_path / "m.csv"
    forms = [normalize(form, "é.jpg") for form in ("NFC", "NFD")]
    manifest.write_text("\n".join(["path", *forms]), encoding="utf-8")
    first, second = read_manifest(manifest)
    assert first.problem is None
    assert "is already in an earlier row" in str(second.problem)
