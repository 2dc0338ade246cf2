"""The local gallery's file: creating, opening, and what is said of a damaged one."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from galleries.errors import (
    ContractError,
    FingerprintMismatch,
    GalleryBusy,
    GalleryDamaged,
    GalleryNotFound,
    NoWindows,
)
from galleries.local import LocalGallery
from tests.support.documents import document, ids_of, told_apart, unit, windows

FILE = "gallery.sqlite"
SETTINGS = {"network": "ü", "dims": 4, "layers": [1, 2], "whiten": None, "alpha": 0.1}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "gallery"


def create(folder, **said):
    filled = {"dims": 4, "fingerprint": "f", "settings": SETTINGS} | said
    return LocalGallery.create(folder, **filled)


def spoil(folder, *statements):
    """Change the file behind the gallery's back."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_creating_over_a_gallery_of_the_same_method_opens_it(folder):
    with create(folder) as gallery:
        gallery.put([document("a")])
        gallery.close()  # which the block does again
    assert [path.name for path in folder.iterdir()] == [FILE]
    with create(folder, settings={"other": 1}) as gallery:
        assert (gallery.dims, gallery.fingerprint, gallery.settings) == (4, "f", SETTINGS)
        assert ids_of(gallery.documents()) == ["a"]


def test_another_method_may_not_use_the_gallery(folder):
    create(folder).close()
    for said in ({"fingerprint": "g"}, {"dims": 5}):
        with pytest.raises(FingerprintMismatch, match="into another folder, or delete this one"):
            create(folder, **said)


def test_many_may_create_one_gallery_at_once(folder):
    for number in range(10):  # each is a chance to meet between two statements
        one = folder / str(number)
        with ThreadPoolExecutor(6) as threads:
            for gallery in list(threads.map(create, [one] * 6)):
                gallery.put([document("a")])
                gallery.close()
        with LocalGallery.open(one) as gallery:
            assert gallery.count() == 1


def test_a_new_file_that_another_process_reads_is_busy_and_then_taken(folder):
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_master")
        with pytest.raises(GalleryBusy, match="try again"):
            create(folder, busy_seconds=0)
        reader.execute("ROLLBACK")
        with create(folder) as gallery:
            assert gallery.count() == 0


def test_without_a_gallery_the_remedy_is_said(folder):
    with pytest.raises(GalleryNotFound, match=f"camsearch index PATH --gallery {folder}"):
        LocalGallery.open(folder)
    assert not folder.exists()


def test_a_creation_that_was_interrupted_goes_on(folder):
    folder.mkdir()
    (folder / FILE).touch()
    with pytest.raises(GalleryNotFound):
        LocalGallery.open(folder)
    with create(folder) as gallery:
        assert gallery.count() == 0


def test_a_folder_that_cannot_be_made_or_read_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ContractError, match=r"cannot be created .* choose another folder"):
        create(tmp_path / "file" / "gallery")
    with pytest.raises(ContractError, match=r"cannot be read .* check its name"):
        LocalGallery.open(tmp_path / ("x" * 300))
    (tmp_path / FILE).mkdir()
    with pytest.raises(ContractError, match=r"cannot be used .* check the free space"):
        create(tmp_path)


def test_settings_that_are_no_json_leave_nothing_behind(folder):
    with pytest.raises(TypeError):
        create(folder, settings={"x": object()})
    assert not folder.exists()


def test_a_file_that_is_no_database_is_reported(folder):
    folder.mkdir()
    for content in (b"no database", b"\0" * 5000, b"SQLite format 3\0" + b"x" * 5000):
        (folder / FILE).write_bytes(content)
        for use in (LocalGallery.open, create):
            with pytest.raises(GalleryDamaged, match="Put back a copy of it, or delete it"):
                use(folder)
        assert (folder / FILE).read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut-off"),
        pytest.param(lambda data: data[:49152] + b"\xff" * 393216 + data[442368:], id="pages"),
    ],
)
def test_a_file_that_is_damaged_within_is_reported(folder, damage):
    with create(folder) as gallery:
        gallery.put([document(f"{i:04d}") for i in range(2000)])
    (folder / FILE).write_bytes(damage((folder / FILE).read_bytes()))
    with pytest.raises(GalleryDamaged), LocalGallery.open(folder) as gallery:
        list(gallery.documents())


def test_a_database_of_someone_else_is_left_alone(folder):
    folder.mkdir()
    spoil(folder, "CREATE TABLE theirs (x)")
    before = (folder / FILE).read_bytes()
    for use in (LocalGallery.open, create):
        with pytest.raises(GalleryDamaged, match="a database of another application"):
            use(folder)
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("PRAGMA user_version = 3", "has format 3, this camsearch reads 2: use the camsearch"),
        ("DELETE FROM gallery", "does not say which method made it"),
        ("DELETE FROM vectors", "1 documents have 0 descriptors"),
        ("UPDATE vectors SET descriptor = x'0000803f'", "a descriptor has 4 bytes, not 16"),
        ("UPDATE vectors SET number = 99", "99"),
    ],
)
def test_a_gallery_that_makes_no_sense_is_reported(folder, statement, complaint):
    with create(folder) as gallery:
        gallery.put([document("a")])
    spoil(folder, statement)
    for use in (LocalGallery.open, create):
        with pytest.raises(GalleryDamaged, match=complaint), use(folder) as gallery:
            gallery.knn(unit([1, 0, 0, 0]), 1)


def test_a_file_from_before_there_were_windows_opens_as_it_is(folder):
    one = document("a", windows=windows([1, 0, 0, 0]))
    with create(folder) as gallery:
        gallery.put([document("a")])
    spoil(folder, "DROP TABLE windows", "PRAGMA wal_checkpoint(TRUNCATE)")
    before = (folder / FILE).read_bytes()
    with LocalGallery.open(folder) as old, LocalGallery.open(folder) as other:
        assert told_apart(document("a"), old.get(["a"])["a"]) == []
        with pytest.raises(NoWindows):
            old.knn_windows(unit([1, 0, 0, 0]), 1)
        assert (folder / FILE).read_bytes() == before
        old.delete(["a"])
        old.put([document("b")])
        old.put([one])
        assert told_apart(one, other.get(["a"])["a"]) == []


@pytest.mark.parametrize("levels", ["x''", "x'010203'", "x'0102030405'"])
def test_windows_of_other_dimensions_are_reported(folder, levels):
    with create(folder, settings={"method": {"windows": 5}}) as gallery:
        gallery.put([document("a", windows=windows([1, 0, 0, 0]))])
        spoil(folder, f"UPDATE windows SET vectors = {levels}")  # noqa: S608
        for among in (None, ["a"]):
            with pytest.raises(GalleryDamaged, match=r"the windows of 'a' have \d bytes, not 4"):
                gallery.knn_windows(unit([1, 0, 0, 0]), 1, among=among)


def test_an_error_that_is_not_the_files_stays_what_it_is(folder):
    gallery = create(folder)
    gallery.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        gallery.count()
