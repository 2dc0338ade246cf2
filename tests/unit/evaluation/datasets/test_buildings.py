"""Oxford and Paris from their text files: protocol, damaged images, missing files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.datasets.buildings import OXFORD, PARIS, read_buildings
from tests.support.datasets import BOX, LANDMARKS, make_oxford, make_paris
from tests.unit.evaluation.datasets.readers import FIT, request

if TYPE_CHECKING:
    from pathlib import Path


class TestOxford:
    def test_one_trial_with_all_images(self, tmp_path: Path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        assert (trial.name, len(trial.gallery), len(trial.queries)) == ("all", 18, 6)
        assert trial.fit == FIT
        assert trial.gallery[0].path == "oxbuild_images/chapel_000000.jpg"
        assert trial.gallery[0].size == Size(96, 80)
        assert trial.gallery[0].file.is_file()

    def test_a_query_has_its_box_and_what_counts(self, tmp_path: Path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        query = trial.queries[3]  # gate_2
        assert query.photo.path == "oxbuild_images/gate_000001.jpg"
        assert query.box == Box(*BOX)
        assert set(query.judgements) == {"all"}
        judgement = query.judgements["all"]
        assert judgement.positives == {f"oxbuild_images/gate_00000{n}.jpg" for n in (0, 1, 2)}
        assert judgement.junk == {"oxbuild_images/gate_000003.jpg"}

    def test_the_querys_own_image_stays_and_is_right(self, tmp_path: Path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        paths = {photo.path for photo in trial.gallery}
        for query in trial.queries:
            assert query.leave_out is None
            assert query.photo.path in paths
            assert query.photo.path in query.judgements["all"].positives

    def test_full_images_on_demand(self, tmp_path: Path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path), "full"))
        assert [query.box for query in trial.queries] == [None] * 6

    def test_images_anywhere_under_the_root(self, tmp_path: Path):
        root = make_oxford(tmp_path)
        (root / "oxbuild_images").rename(root / "jpg")
        (root / "gt_files_170407").rename(root / "truth")
        (trial,) = read_buildings(OXFORD, request(root))
        assert trial.gallery[0].path == "jpg/chapel_000000.jpg"

    def test_another_datasets_truth_beside_its_own(self, tmp_path: Path):
        make_paris(make_oxford(tmp_path))
        (oxford,) = read_buildings(OXFORD, request(tmp_path))
        (paris,) = read_buildings(PARIS, request(tmp_path))
        assert {q.photo.path.split("/")[0] for q in oxford.queries} == {"oxbuild_images"}
        assert {q.photo.path.split("/")[0] for q in paris.queries} == {"paris"}

    def test_a_folder_that_is_not_whole_is_said(self, tmp_path: Path):
        (trial,) = read_buildings(OXFORD, request(make_oxford(tmp_path)))
        [note] = trial.notes
        assert note.startswith("The published Oxford5k has 5,062 images and this folder 18")

    def test_nothing_to_fit_on(self, tmp_path: Path):
        with pytest.raises(RequestError, match="such as paris6k:DIR"):
            read_buildings(OXFORD, request(make_oxford(tmp_path), fit=None))


class TestMissing:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return make_oxford(tmp_path)

    def test_no_images(self, tmp_path: Path):
        with pytest.raises(RequestError, match=r"needs images .*oxbuildings/"):
            read_buildings(OXFORD, request(tmp_path))

    def test_no_such_folder(self, tmp_path: Path):
        with pytest.raises(RequestError, match="no file or folder"):
            read_buildings(OXFORD, request(tmp_path / "nowhere"))

    def test_no_ground_truth(self, root: Path):
        for path in (root / "gt_files_170407").iterdir():
            path.unlink()
        with pytest.raises(RequestError, match=r"gt_files_170407\.tgz.*official page.*oxbuildings"):
            read_buildings(OXFORD, request(root))

    def test_two_ground_truths(self, root: Path):
        (root / "gt").mkdir()
        for path in (root / "gt_files_170407").iterdir():
            (root / "gt" / path.name).write_bytes(path.read_bytes())
        with pytest.raises(RequestError, match="two ground truths"):
            read_buildings(OXFORD, request(root))

    def test_one_file_of_a_query(self, root: Path):
        (root / "gt_files_170407" / "gate_1_ok.txt").unlink()
        with pytest.raises(RequestError, match=r"gate_1_ok\.txt of its ground truth"):
            read_buildings(OXFORD, request(root))

    @pytest.mark.parametrize("number", [0, 2, 3])
    def test_a_image_that_is_named(self, root: Path, number: int):
        (root / "oxbuild_images" / f"gate_00000{number}.jpg").unlink()
        with pytest.raises(RequestError, match=f"needs the images gate_00000{number} under"):
            read_buildings(OXFORD, request(root))

    def test_a_query_without_a_right_answer(self, root: Path):
        for kind in ("good", "ok"):
            (root / "gt_files_170407" / f"gate_1_{kind}.txt").write_text("")
        with pytest.raises(RequestError, match="neither a good nor an ok"):
            read_buildings(OXFORD, request(root))

    @pytest.mark.parametrize("line", ["", "oxc1_gate_000000", "oxc1_gate_000000 1 2 3 x"])
    def test_a_query_cut_short(self, root: Path, line: str):
        (root / "gt_files_170407" / "gate_1_query.txt").write_text(line)
        with pytest.raises(RequestError, match=r"gate_1_query\.txt does not say"):
            read_buildings(OXFORD, request(root))

    def test_a_query_that_is_no_text(self, root: Path):
        (root / "gt_files_170407" / "gate_1_query.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(RequestError, match=r"gate_1_query\.txt cannot be read \(Unicode"):
            read_buildings(OXFORD, request(root))

    def test_a_box_without_area_is_named(self, root: Path):
        line = "oxc1_gate_000000 50 2 3 40"
        (root / "gt_files_170407" / "gate_1_query.txt").write_text(line)
        with pytest.raises(RequestError, match=r"gate_1_query\.txt: The box .* is empty"):
            read_buildings(OXFORD, request(root))

    def test_a_damaged_image(self, root: Path):
        (root / "oxbuild_images" / "gate_000055.jpg").write_text("")
        with pytest.raises(RequestError, match=r"read as images \(.*gate_000055\.jpg\): unpack"):
            read_buildings(OXFORD, request(root))

    def test_two_images_of_one_name(self, root: Path):
        copy = root / "oxbuild_images" / "again" / "gate_000000.jpg"
        copy.parent.mkdir()
        copy.write_bytes((root / "oxbuild_images" / "gate_000000.jpg").read_bytes())
        with pytest.raises(RequestError, match="share theirs"):
            read_buildings(OXFORD, request(root))


class TestParis:
    def test_the_authors_list_of_damaged_images(self, tmp_path: Path):
        (trial,) = read_buildings(PARIS, request(make_paris(tmp_path)))
        assert len(trial.gallery) == 18
        assert trial.gallery[0].path == "paris/chapel/paris_chapel_000000.jpg"
        assert [note[:13] for note in trial.notes] == ["The published"]
        assert {query.photo.scene for query in trial.queries} == {""}
        assert len(trial.queries) == 2 * len(LANDMARKS)

    def test_without_the_list_they_are_found_and_named(self, tmp_path: Path):
        (trial,) = read_buildings(PARIS, request(make_paris(tmp_path, listed=False)))
        assert len(trial.gallery) == 18
        assert trial.notes[0] == (
            "Left out, 2 that are not images (the authors list such ones in corrupt.txt): "
            "paris/gate/paris_gate_000090.jpg, paris/tower/paris_tower_000091.jpg."
        )

    @pytest.mark.parametrize("listed", [True, False])
    def test_a_damaged_image_that_is_right_is_never_found(self, tmp_path: Path, listed: bool):
        """The official evaluator counts every name of its lists."""
        root = make_paris(tmp_path, listed=listed)
        with (root / "paris_120310" / "gate_1_ok.txt").open("a") as file:
            file.write("paris_gate_000090\n")
        (trial,) = read_buildings(PARIS, request(root))
        [query] = [q for q in trial.queries if "paris_gate_000090" in q.judgements["all"].positives]
        assert len(query.judgements["all"].positives) == 4

    def test_its_page_is_named(self, tmp_path: Path):
        with pytest.raises(RequestError, match="parisbuildings"):
            read_buildings(PARIS, request(tmp_path))
