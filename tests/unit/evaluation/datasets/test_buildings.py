"""Oxford and Paris from their text files: protocol, damaged images, missing files."""

from __future__ import annotations

import shutil

import pytest

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.datasets.buildings import OXFORD, PARIS, read_buildings
from tests.support.datasets import BOX, LANDMARKS, make_oxford, make_paris
from tests.unit.evaluation.datasets.readers import FIT, request


class TestOxford:
    def test_one_trial_with_all_images(self, tmp_path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        assert (trial.name, len(trial.gallery), len(trial.queries)) == ("all", 18, 6)
        assert trial.fit == FIT
        assert trial.gallery[0].path == "oxbuild_images/chapel_000000.jpg"
        assert trial.gallery[0].size == Size(96, 80)
        assert trial.gallery[0].file.is_file()

    def test_a_query_has_its_box_and_what_counts(self, tmp_path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        query = trial.queries[3]  # gate_2
        assert query.image.path == "oxbuild_images/gate_000001.jpg"
        assert query.box == Box(*BOX)
        assert set(query.judgements) == {"all"}
        judgement = query.judgements["all"]
        assert judgement.positives == {f"oxbuild_images/gate_00000{n}.jpg" for n in (0, 1, 2)}
        assert judgement.junk == {"oxbuild_images/gate_000003.jpg"}

    def test_the_querys_own_image_stays_and_is_right(self, tmp_path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        paths = {image.path for image in trial.gallery}
        for query in trial.queries:
            assert query.leave_out is None
            assert query.image.path in paths
            assert query.image.path in query.judgements["all"].positives

    def test_full_images_on_demand(self, tmp_path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path), "full"))
        assert [query.box for query in trial.queries] == [None] * 6

    def test_images_anywhere_under_the_root(self, tmp_path):
        root = make_oxford(tmp_path)
        (root / "oxbuild_images").rename(root / "jpg")
        (root / "gt_files_170407").rename(root / "truth")
        (trial,) = read_buildings(OXFORD, request(root))
        assert trial.gallery[0].path == "jpg/chapel_000000.jpg"

    def test_another_datasets_truth_beside_its_own(self, tmp_path):
        make_paris(make_oxford(tmp_path))
        (oxford,) = read_buildings(OXFORD, request(tmp_path))
        (paris,) = read_buildings(PARIS, request(tmp_path))
        assert {q.image.path.split("/")[0] for q in oxford.queries} == {"oxbuild_images"}
        assert {q.image.path.split("/")[0] for q in paris.queries} == {"paris"}

    def test_a_folder_that_is_not_whole_is_said(self, tmp_path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        [note] = trial.notes
        assert note.startswith("The published Oxford5k has 5,062 images and this folder 18")

    def test_nothing_to_fit_on(self, tmp_path):
        with pytest.raises(RequestError, match="such as paris6k:DIR"):
            read_buildings(OXFORD, request(make_oxford(tmp_path), fit=None))


TRUTH = "gt_files_170407"
GATE = f"{TRUTH}/gate_1_query.txt"


def add(root, name, of):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes((root / of).read_bytes())


def empty(root, *names):
    for name in names:
        (root / name).write_text("")


REFUSED = {
    "no ground truth": (
        lambda root: shutil.rmtree(root / TRUTH),
        r"gt_files_170407\.tgz.*official page.*oxbuildings",
    ),
    "two ground truths": (
        lambda root: shutil.copytree(root / TRUTH, root / "gt"),
        "two ground truths",
    ),
    "no file of a query": (
        lambda root: (root / TRUTH / "gate_1_ok.txt").unlink(),
        r"gate_1_ok\.txt of its ground truth",
    ),
    "no image of a query": (
        lambda root: (root / "oxbuild_images/gate_000000.jpg").unlink(),
        "needs the images gate_000000 under",
    ),
    "no image of an answer": (
        lambda root: (root / "oxbuild_images/gate_000002.jpg").unlink(),
        "needs the images gate_000002 under",
    ),
    "no right answer": (
        lambda root: empty(root, f"{TRUTH}/gate_1_good.txt", f"{TRUTH}/gate_1_ok.txt"),
        "neither a good nor an ok",
    ),
    "an empty query": (lambda root: empty(root, GATE), r"gate_1_query\.txt does not say"),
    "a query that is no text": (
        lambda root: (root / GATE).write_bytes(b"\xff\xfe\x00"),
        r"gate_1_query\.txt cannot be read \(Unicode",
    ),
    "a box of no numbers": (
        lambda root: (root / GATE).write_text("oxc1_gate_000000 1 2 3 x"),
        r"gate_1_query\.txt does not say",
    ),
    "a box without area": (
        lambda root: (root / GATE).write_text("oxc1_gate_000000 50 2 3 40"),
        r"gate_1_query\.txt: The box .* is empty",
    ),
    "a damaged image": (
        lambda root: empty(root, "oxbuild_images/gate_000055.jpg"),
        r"read as images \(.*gate_000055\.jpg\): unpack",
    ),
    "two images of one name": (
        lambda root: add(
            root, "oxbuild_images/b/gate_000000.jpg", "oxbuild_images/gate_000000.jpg"
        ),
        "share theirs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_with_faults_is_refused(tmp_path, case):
    spoil, why = REFUSED[case]
    root = make_oxford(tmp_path)
    spoil(root)
    with pytest.raises(RequestError, match=why):
        read_buildings(OXFORD, request(root))


@pytest.mark.parametrize(
    ("about", "folder", "why"),
    [
        (OXFORD, "", r"needs images .*oxbuildings/"),
        (PARIS, "", "parisbuildings"),
        (OXFORD, "nowhere", "no file or folder"),
    ],
)
def test_a_folder_without_images_is_refused(tmp_path, about, folder, why):
    with pytest.raises(RequestError, match=why):
        read_buildings(about, request(tmp_path / folder))


class TestParis:
    def test_the_authors_list_of_damaged_images(self, tmp_path):
        (trial,) = read_buildings(PARIS, request(make_paris(tmp_path)))
        assert len(trial.gallery) == 18
        assert trial.gallery[0].path == "paris/chapel/paris_chapel_000000.jpg"
        assert [note[:13] for note in trial.notes] == ["The published"]
        assert {query.image.scene for query in trial.queries} == {""}
        assert len(trial.queries) == 2 * len(LANDMARKS)

    def test_without_the_list_they_are_found_and_named(self, tmp_path):
        (trial,) = read_buildings(PARIS, request(make_paris(tmp_path, listed=False)))
        assert len(trial.gallery) == 18
        assert trial.notes[0] == (
            "Left out, 2 that are not images (the authors list such ones in corrupt.txt): "
            "paris/gate/paris_gate_000090.jpg, paris/tower/paris_tower_000091.jpg."
        )

    @pytest.mark.parametrize("listed", [True, False])
    def test_a_damaged_image_that_is_right_is_never_found(self, tmp_path, listed):
        """The official evaluator counts every name of its lists."""
        root = make_paris(tmp_path, listed=listed)
        with (root / "paris_120310" / "gate_1_ok.txt").open("a") as file:
            file.write("paris_gate_000090\n")
        (trial,) = read_buildings(PARIS, request(root))
        [query] = [q for q in trial.queries if "paris_gate_000090" in q.judgements["all"].positives]
        assert len(query.judgements["all"].positives) == 4
