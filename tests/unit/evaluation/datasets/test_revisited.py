"""ROxford and RParis: three measures, queries outside of the gallery."""

from __future__ import annotations

import pickle

import pytest

from descriptors.arrays import Box
from descriptors.errors import RequestError
from evaluation.datasets.revisited import ROXFORD, RPARIS, read_revisited
from evaluation.trials import all_images
from tests.support.datasets import BOX, make_revisited
from tests.unit.evaluation.datasets.readers import FIT, request


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    (trial,) = read_revisited(ROXFORD, request(make_revisited(tmp_path_factory.mktemp("r"))))
    return trial


def query_of(trial, landmark):
    [query] = [q for q in trial.queries if landmark in q.image.path]
    return query


class TestReadRevisited:
    def test_queries_are_not_in_the_gallery_but_their_maps_are_needed(self, trial):
        gallery = {image.path for image in trial.gallery}
        assert len(gallery) == 15
        for query in trial.queries:
            assert query.image.path not in gallery
            assert query.image in all_images([trial])
            assert query.leave_out is None
        assert len(all_images([trial])) == 15 + 3 + len(FIT)

    def test_what_counts_under_each_measure(self, trial):
        query = query_of(trial, "gate")
        assert query.box == Box(*BOX)
        easy, hard, junk = (f"jpg/gate_00000{number}.jpg" for number in (1, 2, 3))
        assert list(query.judgements) == ["medium", "easy", "hard"]
        found = {m: (j.positives, j.junk) for m, j in query.judgements.items()}
        assert found["easy"] == ({easy}, {hard, junk})
        assert found["medium"] == ({easy, hard}, {junk})
        assert found["hard"] == ({hard}, {easy, junk})

    def test_a_query_does_not_count_where_it_has_no_right_answer(self, trial):
        assert list(query_of(trial, "tower").judgements) == ["medium", "easy"]

    def test_full_images_on_demand(self, tmp_path):
        (trial,) = read_revisited(ROXFORD, request(make_revisited(tmp_path), "full"))
        assert [query.box for query in trial.queries] == [None] * 3

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_every_form_of_pickle(self, trial, tmp_path, protocol):
        root = make_revisited(tmp_path, protocol=protocol)
        (again,) = read_revisited(ROXFORD, request(root))
        assert [q.judgements for q in again.queries] == [q.judgements for q in trial.queries]

    def test_paris(self, tmp_path):
        (trial,) = read_revisited(RPARIS, request(make_revisited(tmp_path, "rparis6k")))
        assert trial.gallery[0].path == "jpg/paris_chapel_000001.jpg"


def change(root, change):
    path = root / "gnd_roxford5k.pkl"
    annotation = pickle.loads(path.read_bytes())  # noqa: S301 - our own
    change(annotation)
    path.write_bytes(pickle.dumps(annotation))


NOTHING = {"imlist": [], "qimlist": [], "gnd": []}
REFUSED = {
    "no annotation": (
        lambda root: (root / "gnd_roxford5k.pkl").unlink(),
        r"gnd_roxford5k\.pkl under .*revisitop/",
    ),
    "a missing image": (
        lambda root: (root / "jpg" / "gate_000002.jpg").unlink(),
        "needs the images gate_000002",
    ),
    "a missing list": (
        lambda root: change(root, lambda found: found.pop("qimlist")),
        r"is not the annotation of .*\(qimlist: Field req",
    ),
    "a number beyond its list": (
        lambda root: change(root, lambda found: found["gnd"][0]["junk"].append(15)),
        "is inconsistent",
    ),
    "fewer annotations than queries": (
        lambda root: change(root, lambda found: found["gnd"].pop()),
        "is inconsistent",
    ),
    "no query": (
        lambda root: change(root, lambda found: found.update(NOTHING)),
        "has no query with a right answer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_with_faults_is_refused(tmp_path, case):
    spoil, why = REFUSED[case]
    root = make_revisited(tmp_path)
    spoil(root)
    with pytest.raises(RequestError, match=why):
        read_revisited(ROXFORD, request(root))


def test_nothing_to_fit_on(tmp_path):
    with pytest.raises(RequestError, match="ROxford5k fits the whitening on another"):
        read_revisited(ROXFORD, request(make_revisited(tmp_path), fit=None))
