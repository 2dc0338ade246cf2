"""ROxford and RParis: three measures, queries outside of the gallery."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from descriptors.arrays import Box
from descriptors.errors import RequestError
from evaluation.datasets.revisited import ROXFORD, RPARIS, read_revisited
from evaluation.trials import all_photos
from tests.support.datasets import BOX, make_revisited
from tests.unit.evaluation.datasets.readers import FIT, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from evaluation.trials import PhotoQuery, Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    (trial,) = read_revisited(ROXFORD, request(make_revisited(tmp_path_factory.mktemp("r"))))
    return trial


def query_of(trial: Trial, landmark: str) -> PhotoQuery:
    [query] = [q for q in trial.queries if landmark in q.photo.path]
    return query


class TestReadRevisited:
    def test_queries_are_not_in_the_gallery_but_their_maps_are_needed(self, trial: Trial):
        gallery = {photo.path for photo in trial.gallery}
        assert len(gallery) == 15
        for query in trial.queries:
            assert query.photo.path not in gallery
            assert query.photo in all_photos([trial])
            assert query.leave_out is None
        assert len(all_photos([trial])) == 15 + 3 + len(FIT)

    def test_what_counts_under_each_measure(self, trial: Trial):
        query = query_of(trial, "gate")
        assert query.box == Box(*BOX)
        easy, hard, junk = (f"jpg/gate_00000{number}.jpg" for number in (1, 2, 3))
        assert list(query.judgements) == ["medium", "easy", "hard"]
        found = {m: (j.positives, j.junk) for m, j in query.judgements.items()}
        assert found["easy"] == ({easy}, {hard, junk})
        assert found["medium"] == ({easy, hard}, {junk})
        assert found["hard"] == ({hard}, {easy, junk})

    def test_a_query_does_not_count_where_it_has_no_right_answer(self, trial: Trial):
        assert list(query_of(trial, "tower").judgements) == ["medium", "easy"]

    def test_full_images_on_demand(self, tmp_path: Path):
        (trial,) = read_revisited(ROXFORD, request(make_revisited(tmp_path), "full"))
        assert [query.box for query in trial.queries] == [None] * 3

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_every_form_of_pickle(self, trial: Trial, tmp_path: Path, protocol: int):
        root = make_revisited(tmp_path, protocol=protocol)
        (again,) = read_revisited(ROXFORD, request(root))
        assert [q.judgements for q in again.queries] == [q.judgements for q in trial.queries]

    def test_paris(self, tmp_path: Path):
        (trial,) = read_revisited(RPARIS, request(make_revisited(tmp_path, "rparis6k")))
        assert trial.gallery[0].path == "jpg/paris_chapel_000001.jpg"


class TestRefusals:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return make_revisited(tmp_path)

    @staticmethod
    def change(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
        path = root / "gnd_roxford5k.pkl"
        annotation = pickle.loads(path.read_bytes())  # noqa: S301 - our own
        change(annotation)
        path.write_bytes(pickle.dumps(annotation))

    def test_no_annotation(self, root: Path):
        (root / "gnd_roxford5k.pkl").unlink()
        with pytest.raises(RequestError, match=r"gnd_roxford5k\.pkl under .*revisitop/"):
            read_revisited(ROXFORD, request(root))

    def test_a_missing_image(self, root: Path):
        (root / "jpg" / "gate_000002.jpg").unlink()
        with pytest.raises(RequestError, match="needs the images gate_000002"):
            read_revisited(ROXFORD, request(root))

    def test_something_else_in_it(self, root: Path):
        self.change(root, lambda annotation: annotation.pop("qimlist"))
        with pytest.raises(RequestError, match=r"is not the annotation of .*\(qimlist: Field req"):
            read_revisited(ROXFORD, request(root))

    def test_numbers_beyond_its_list(self, root: Path):
        self.change(root, lambda annotation: annotation["gnd"][0]["junk"].append(15))
        with pytest.raises(RequestError, match="is inconsistent"):
            read_revisited(ROXFORD, request(root))

    def test_fewer_annotations_than_queries(self, root: Path):
        self.change(root, lambda annotation: annotation["gnd"].pop())
        with pytest.raises(RequestError, match="is inconsistent"):
            read_revisited(ROXFORD, request(root))

    def test_no_query(self, root: Path):
        (root / "gnd_roxford5k.pkl").write_bytes(
            pickle.dumps({"imlist": [], "qimlist": [], "gnd": []})
        )
        with pytest.raises(RequestError, match="has no query with a right answer"):
            read_revisited(ROXFORD, request(root))

    def test_nothing_to_fit_on(self, root: Path):
        with pytest.raises(RequestError, match="ROxford5k fits the whitening on another"):
            read_revisited(ROXFORD, request(root, fit=None))
