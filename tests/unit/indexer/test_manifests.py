"""Manifests as spreadsheets and other programs write them."""

from __future__ import annotations

from unicodedata import normalize

import pytest

from descriptors.errors import RequestError
from indexer.csv_manifests import MAX_META_FIELDS
from indexer.manifests import read_manifest
from indexer.sources import find_images


def rows_of(folder, text, name="images.csv", encoding="utf-8", mapping=None):
    """The file name and metadata of each row, and the warnings."""
    path = folder / name
    path.write_bytes(text.encode(encoding))
    warnings: list[str] = []
    sources = list(read_manifest(path, warnings.append, mapping))
    assert [source.problem for source in sources] == [None] * len(sources)
    return [(source.uri.rsplit("/", 1)[1], source.meta) for source in sources], warnings


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
        for number, cell in enumerate(["1904.10", "1904.2a", "007", " 1", "12345678901234567"]):
            cells = [cell, "1904.1"] if number % 2 else ["1904.1", cell]
            lines = ["path,n\n", *(f'a.jpg{i},"{c}"\n' for i, c in enumerate(cells))]
            rows, _ = rows_of(tmp_path, "".join(lines))
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
