"""What only the local gallery does: its file, other processes, sudden death, size, exactness."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from galleries.errors import (
    ContractError,
    FingerprintMismatch,
    GalleryBusy,
    GalleryDamaged,
    GalleryNotFound,
    NoWindows,
)
from galleries.filters import Exists
from galleries.local import LocalGallery
from tests.support.documents import document, ids_of, reject, told_apart, unit, windows

FILE = "gallery.sqlite"
SETTINGS = {"network": "ü", "dims": 4, "layers": [1, 2], "whiten": None, "alpha": 0.1}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "gallery"


def create(folder, **said):
    filled = {"dims": 4, "fingerprint": "f", "settings": SETTINGS} | said
    return LocalGallery.create(folder, **filled)


def test_a_second_writer_waits_and_then_says_so(folder):
    with create(folder, busy_seconds=0.05) as first, LocalGallery.open(folder) as second:
        first.put([document("a")])
        with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(GalleryBusy, match="try again later"):
                first.put([document("b")])
            assert ids_of(second.documents()) == ["a"]
        first.put([document("b")])
        assert first.count() == 2


def test_what_another_connection_writes_is_searched(folder):
    with create(folder) as reader, LocalGallery.open(folder) as writer:
        query = unit([1, 0, 0, 0])
        assert reader.knn(query, 9) == []
        writer.put([document("a", [1, 0, 0, 0]), document("b", [1, 1, 0, 0])])
        assert [hit.id for hit in reader.knn(query, 9)] == ["a", "b"]
        writer.put([document("a", [0, 1, 0, 0])])
        assert [hit.id for hit in reader.knn(query, 9)] == ["b", "a"]
        writer.put_rejects([reject("b")])
        assert [hit.id for hit in reader.knn(query, 9)] == ["b", "a"]  # no refusal loses it
        writer.delete(["a", "b"])
        assert reader.knn(query, 9) == []


def test_threads_read_whole_batches_while_another_writes(folder):
    # Each batch replaces all five images; a reader must never see two batches mixed.
    def batch(number):
        vector = [1, number + 1, 0, 0]
        return [document(f"{i}", vector, meta={"batch": number}) for i in range(5)]

    with create(folder) as gallery:
        gallery.put(batch(0))

        def read(_):
            for _ in range(15):
                hits = gallery.knn(unit([1, 0, 0, 0]), 5)
                assert [hit.id for hit in hits] == ["0", "1", "2", "3", "4"]
                assert len({hit.cosine for hit in hits}) == 1
                found = gallery.get([hit.id for hit in hits]).values()
                assert len({one.meta["batch"] for one in found}) == 1
                assert gallery.count(Exists("meta.batch")) == 5

        with ThreadPoolExecutor(4) as threads:
            readers = threads.map(read, range(4))
            for number in range(1, 20):
                gallery.put(batch(number))
            assert list(readers) == [None] * 4


WRITER = """
import itertools, sys
from galleries.local import LocalGallery
from tests.support.documents import document, reject

gallery = LocalGallery.open(sys.argv[1])
for batch in itertools.count(int(sys.argv[2])):
    gallery.put([document(f"{batch:05d}-{i:03d}", meta={"batch": batch}) for i in range(200)])
    gallery.put_rejects([reject(f"{batch:05d}-{i:03d}") for i in range(100, 200)])
    print(batch, flush=True)
"""


def write_until_killed(folder, start, seconds):
    """Let a process write batches, kill it, and return the last batch that it called written."""
    command = [sys.executable, "-c", WRITER, str(folder), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        return [int(line) for line in [first, *writer.stdout] if line.endswith("\n")][-1]


def test_a_killed_writer_leaves_whole_batches_and_all_that_it_called_written(folder):
    with create(folder) as gallery:
        batches = [0]
        for seconds in (0.0, 0.013, 0.029):
            start = batches[-1] + 1
            said = write_until_killed(folder, start, seconds)
            documents = Counter(one.meta["batch"] for one in gallery.documents())
            rejects = Counter(int(one.id[:5]) for one in gallery.rejects())
            batches = sorted(documents)
            assert batches == list(range(1, batches[-1] + 1))
            assert batches[-1] in (said, said + 1)
            for batch in batches:
                assert (documents[batch], rejects[batch]) in ((200, 100), (200, 0))
            assert all(rejects[batch] == 100 for batch in range(start, said + 1))
            assert len(gallery.knn(unit([1, 2, 3, 4]), 10_000)) == documents.total()
            assert gallery.count() == gallery.count(Exists("meta.batch")) == documents.total()
    with closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_an_image_takes_less_than_ten_thousand_bytes_of_disk(folder):
    vectors = np.random.default_rng(1).standard_normal((2000, 512))
    meta = {"city": "Paris", "year": 1889, "tags": ["iron", "tower", "seen from below"]}
    with create(folder, dims=512) as gallery:
        for start in range(0, 2000, 250):
            rows = vectors[start : start + 250]
            gallery.put(
                [document(f"{start + i:060d}", row, meta=meta) for i, row in enumerate(rows)]
            )
        on_disk = sum(path.stat().st_size for path in folder.iterdir()) - 17_000_000  # the WAL
        assert on_disk < 2000 * 10_000
    assert (folder / FILE).stat().st_size < 2000 * 4_000


def test_deleted_and_replaced_images_leave_nothing_behind(folder):
    with create(folder) as gallery:
        for _ in range(3):
            seen = windows([1, 0, 0, 0])
            gallery.put([document(f"{i}", meta={"x": [1, 2, 2]}, windows=seen) for i in range(9)])
        gallery.put_rejects([reject("0")])
        gallery.delete([f"{i}" for i in range(9)])
    with closing(sqlite3.connect(folder / FILE)) as connection:
        for table in ("documents", "vectors", "windows", "leaves", "rejects"):
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []  # noqa: S608


def test_cosines_that_float32_cannot_tell_apart_are_in_exact_order(folder):
    near = [document(f"{i:02d}", np.ones(64) + 1e-4 * i * np.eye(64)[i]) for i in range(40)]
    query = near[20].descriptor.astype(np.float64)

    def cosine(one):
        row = one.descriptor.astype(np.float64)
        return math.fsum(row * query) / math.hypot(*row) / math.hypot(*query)

    expected = [one.id for one in sorted(near, key=lambda one: (-cosine(one), one.id))]
    with create(folder, dims=64) as gallery:
        gallery.put(near)
        for k in (1, 5, 40):
            assert [hit.id for hit in gallery.knn(near[20].descriptor, k)] == expected[:k]


def test_a_descriptor_of_not_quite_unit_length_has_exact_cosines(folder):
    long = np.array([1.0009, 0, 0, 0], dtype=np.float32)
    with create(folder) as gallery:
        gallery.put([document("a", [1, 1e-5, 0, 0])])
        gallery.put([replace(document("b"), descriptor=long)])
        hits = gallery.knn(long, 2)
        assert max(hit.cosine for hit in hits) <= 1
        assert gallery.get(["b"])["b"].descriptor.tolist() == long.tolist()


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
