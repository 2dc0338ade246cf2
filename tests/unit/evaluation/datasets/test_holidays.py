"""Holidays: names say it all, or the perfect result does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from descriptors.errors import RequestError
from evaluation.datasets.holidays import read_holidays
from tests.support.datasets import make_holidays
from tests.unit.evaluation.datasets.readers import request

if TYPE_CHECKING:
    from pathlib import Path


class TestReadHolidays:
    @pytest.mark.parametrize("perfect", [True, False])
    def test_queries_and_their_right_answers(self, tmp_path: Path, perfect: bool):
        (trial,) = read_holidays(request(make_holidays(tmp_path, perfect=perfect)))
        assert len(trial.gallery) == 11
        found = {query.photo.path: query.judgements["all"] for query in trial.queries}
        # 100300.jpg has no second image, so it is no query but a distractor.
        assert list(found) == ["jpg/100000.jpg", "jpg/100100.jpg", "jpg/100200.jpg"]
        assert found["jpg/100100.jpg"].positives == {f"jpg/10010{n}.jpg" for n in (1, 2, 3)}
        assert found["jpg/100000.jpg"].junk == frozenset()

    def test_the_query_is_taken_out_of_its_ranking_but_not_of_others(self, tmp_path: Path):
        (trial,) = read_holidays(request(make_holidays(tmp_path)))
        paths = {photo.path for photo in trial.gallery}
        for query in trial.queries:
            assert query.leave_out == query.photo.path
            assert query.photo.path in paths

    def test_other_files_are_passed_over(self, tmp_path: Path):
        root = make_holidays(tmp_path)
        (root / "jpg" / "thumbnail.jpg").write_bytes((root / "jpg" / "100000.jpg").read_bytes())
        (trial,) = read_holidays(request(root))
        assert len(trial.gallery) == 11

    def test_boxes(self, tmp_path: Path):
        with pytest.raises(RequestError, match="no boxes"):
            read_holidays(request(make_holidays(tmp_path), "boxes"))

    def test_nothing_to_fit_on(self, tmp_path: Path):
        with pytest.raises(RequestError, match="such as images:DIR"):
            read_holidays(request(make_holidays(tmp_path), fit=None))

    def test_no_images(self, tmp_path: Path):
        with pytest.raises(RequestError, match=r"named by six digits.*lear\.inrialpes\.fr"):
            read_holidays(request(tmp_path))

    def test_no_scene_with_two_images(self, tmp_path: Path):
        root = make_holidays(tmp_path)
        for path in (root / "jpg").iterdir():
            if not path.stem.endswith("00"):
                path.unlink()
        with pytest.raises(RequestError, match="with a second image"):
            read_holidays(request(root))

    def test_a_image_that_the_perfect_result_names(self, tmp_path: Path):
        root = make_holidays(tmp_path, perfect=True)
        (root / "jpg" / "100102.jpg").unlink()
        with pytest.raises(RequestError, match=r"needs the images 100102\.jpg"):
            read_holidays(request(root))

    def test_a_perfect_result_cut_short(self, tmp_path: Path):
        root = make_holidays(tmp_path)
        (root / "perfect_result.dat").write_text("100000.jpg 0 100001.jpg 1\n")
        with pytest.raises(RequestError, match=r"Line 1 of .*perfect_result\.dat"):
            read_holidays(request(root))
