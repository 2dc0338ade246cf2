"""Holidays: names say it all, or the perfect result does."""

from __future__ import annotations

import pytest

from descriptors.errors import RequestError
from evaluation.datasets.holidays import read_holidays
from tests.support.datasets import make_holidays
from tests.unit.evaluation.datasets.readers import request


class TestReadHolidays:
    @pytest.mark.parametrize("perfect", [True, False])
    def test_queries_and_their_right_answers(self, tmp_path, perfect):
        (trial,) = read_holidays(request(make_holidays(tmp_path, perfect=perfect)))
        assert len(trial.gallery) == 11
        found = {query.image.path: query.judgements["all"] for query in trial.queries}
        # 100300.jpg has no second image, so it is no query but a distractor.
        assert list(found) == ["jpg/100000.jpg", "jpg/100100.jpg", "jpg/100200.jpg"]
        assert found["jpg/100100.jpg"].positives == {f"jpg/10010{n}.jpg" for n in (1, 2, 3)}
        assert found["jpg/100000.jpg"].junk == frozenset()

    def test_the_query_is_taken_out_of_its_ranking_but_not_of_others(self, tmp_path):
        (trial,) = read_holidays(request(make_holidays(tmp_path)))
        paths = {image.path for image in trial.gallery}
        for query in trial.queries:
            assert query.leave_out == query.image.path
            assert query.image.path in paths

    def test_other_files_are_passed_over(self, tmp_path):
        root = make_holidays(tmp_path)
        (root / "jpg" / "thumbnail.jpg").write_bytes((root / "jpg" / "100000.jpg").read_bytes())
        (trial,) = read_holidays(request(root))
        assert len(trial.gallery) == 11

    @pytest.mark.parametrize(
        ("asked", "why"),
        [({"queries": "boxes"}, "no boxes"), ({"fit": None}, "such as images:DIR")],
    )
    def test_what_it_has_not_is_refused(self, tmp_path, asked, why):
        with pytest.raises(RequestError, match=why):
            read_holidays(request(make_holidays(tmp_path), **asked))

    @pytest.mark.parametrize(
        ("kept", "perfect", "why"),
        [
            ("none", None, r"named by six digits.*lear\.inrialpes\.fr"),
            ("*00.jpg", None, "with a second image"),
            ("*", "100100.jpg 0 100109.jpg", r"needs the images 100109\.jpg"),
            ("*", "100000.jpg 0 100001.jpg 1", r"Line 1 of .*perfect_result\.dat"),
        ],
    )
    def test_a_folder_with_faults_is_refused(self, tmp_path, kept, perfect, why):
        root = make_holidays(tmp_path)
        for path in set((root / "jpg").iterdir()) - set((root / "jpg").glob(kept)):
            path.unlink()
        if perfect:
            (root / "perfect_result.dat").write_text(f"{perfect}\n")
        with pytest.raises(RequestError, match=why):
            read_holidays(request(root))
