"""Photos come as groups of one shape; what is no picture stops the run or is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from descriptors.arrays import Size
from descriptors.errors import RequestError
from evaluation.decoding import ENCODE_BATCH, decode, read_bytes, read_picture
from tests.support.datasets import make_distractors
from tests.support.tiny_network import tiny_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(make_distractors(tmp_path_factory.mktemp("d"), 30).rglob("*.jpg"))


class TestDecode:
    def test_every_photo_once_in_groups_of_one_shape(self, files: list[Path]):
        groups = list(decode([(str(f), f) for f in files], tiny_settings()))
        assert sorted(one.key for group in groups for one in group) == [str(f) for f in files]
        for group in groups:
            assert 0 < len(group) <= ENCODE_BATCH
            assert len({tuple(one.pixels.shape) for one in group}) == 1
        assert {one.size for group in groups for one in group} == {Size(96, 96), Size(96, 80)}

    def test_it_stops_at_what_is_no_picture(self, files: list[Path], tmp_path: Path):
        (tmp_path / "no.jpg").write_text("no")
        with pytest.raises(RequestError, match=r"no\.jpg: This is no picture"):
            list(decode([("", files[0]), ("", tmp_path / "no.jpg")], tiny_settings()))

    def test_or_tells_of_it(self, files: list[Path], tmp_path: Path):
        (tmp_path / "no.jpg").write_text("no")
        told: list[str] = []
        asked = [("a", files[0]), ("b", tmp_path / "no.jpg"), ("c", files[1])]
        groups = decode(asked, tiny_settings(), lambda key, _: told.append(key))
        assert sorted(one.key for group in groups for one in group) == ["a", "c"]
        assert told == ["b"]

    def test_a_missing_file_stops_it_at_any_rate(self, tmp_path: Path):
        asked = [("a", tmp_path / "none.jpg")]
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            list(decode(asked, tiny_settings(), lambda *_: None))


class TestRead:
    def test_a_picture(self, files: list[Path]):
        assert read_picture(files[0]).size == Size(96, 96)

    def test_a_missing_file(self, tmp_path: Path):
        with pytest.raises(RequestError, match=r"cannot be read \(FileNotFoundError\)"):
            read_bytes(tmp_path / "none.jpg")
