"""A folder of one's own: by subfolders and by CSV."""

from __future__ import annotations

import pytest

from descriptors.arrays import Box
from descriptors.errors import RequestError
from evaluation.datasets.facts import ImageFacts
from evaluation.datasets.instances import folder_images, read_folder
from tests.support.datasets import BOX, make_csv_folder, make_folder, write_csv
from tests.unit.evaluation.datasets.readers import FIT, request


class TestSubfolders:
    def test_halves_of_the_instances(self, tmp_path):
        zero, one = read_folder(request(make_folder(tmp_path), fit=None))
        assert {image.scene for image in zero.gallery} == {"arch", "gate", ""}
        assert {image.scene for image in one.gallery} == {"chapel", "tower", ""}
        assert (zero.fit, one.fit) == (one.gallery, zero.gallery)

    def test_all_of_it_with_other_images_to_fit_on(self, tmp_path):
        (trial,) = read_folder(request(make_folder(tmp_path)))
        assert (trial.name, trial.fit) == ("all", FIT)
        assert (len(trial.gallery), len(trial.queries)) == (16 + 8, 16)

    def test_each_image_of_an_instance_asks_for_the_others(self, tmp_path):
        (trial,) = read_folder(request(make_folder(tmp_path)))
        [query] = [q for q in trial.queries if q.image.path == "gate/2.jpg"]
        assert (query.box, query.leave_out) == (None, "gate/2.jpg")
        assert query.judgements["all"].positives == {f"gate/{n}.jpg" for n in (0, 1, 3)}

    def test_distractors_stand_in_their_folder_or_beside(self, tmp_path):
        (trial,) = read_folder(request(make_folder(tmp_path)))
        others = [image.path for image in trial.gallery if not image.scene]
        assert len(others) == 8
        assert {path.split("/")[0] for path in others} == {"distractors", "loose.jpg"}

    def test_there_are_no_boxes(self, tmp_path):
        with pytest.raises(RequestError, match="has a box: add the columns x0"):
            read_folder(request(make_folder(tmp_path), "boxes"))

    def test_a_file_that_is_no_image(self, tmp_path):
        (make_folder(tmp_path) / "gate" / "notes.jpg").write_text("a note")
        with pytest.raises(RequestError, match=r"\(gate/notes\.jpg\): remove them"):
            read_folder(request(tmp_path))

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(RequestError, match="There are no images in"):
            read_folder(request(tmp_path))


class TestCsv:
    def test_instances_and_distractors(self, tmp_path):
        (trial,) = read_folder(request(make_csv_folder(tmp_path)))
        scenes = {image.path: image.scene for image in trial.gallery}
        assert scenes["images/23.jpg"] == "gate"
        assert scenes["images/other0.jpg"] == ""
        assert (len(scenes), len(trial.queries)) == (24, 16)

    def test_boxes_and_junk(self, tmp_path):
        (trial,) = read_folder(request(make_csv_folder(tmp_path), "boxes"))
        assert [query.box for query in trial.queries] == [Box(*BOX)] * 4
        judgement = trial.queries[2].judgements["all"]
        assert judgement.positives == {"images/21.jpg", "images/22.jpg"}
        assert judgement.junk == {"images/23.jpg"}

    def test_any_csv_named_instead_of_a_folder(self, tmp_path):
        root = make_csv_folder(tmp_path)
        (root / "instances.csv").rename(root / "mine.csv")
        (trial,) = read_folder(request(root / "mine.csv"))
        assert len(trial.gallery) == 24
        assert len(folder_images(root / "mine.csv", ImageFacts(None)).images) == 24

    def test_images_beside_the_csvs_own_folder(self, tmp_path):
        root = make_csv_folder(tmp_path)
        rows = [(f"../images/{n}.jpg", "a") for n in ("00", "01")]
        (root / "lists").mkdir()
        write_csv(root / "lists" / "mine.csv", ("path", "instance"), rows)
        (trial,) = read_folder(request(root / "lists" / "mine.csv"))
        assert [image.path for image in trial.gallery] == [row[0] for row in rows]

    def test_path_and_instance_are_enough(self, tmp_path):
        root = make_csv_folder(tmp_path)
        rows = [(f"images/{n}{shot}.jpg", n) for n in range(2) for shot in range(2)]
        write_csv(root / "instances.csv", ("path", "instance"), rows)
        (trial,) = read_folder(request(root))
        assert [query.image.scene for query in trial.queries] == ["0", "0", "1", "1"]

    def test_a_spreadsheets_mark_is_no_part_of_a_name(self, tmp_path):
        root = make_csv_folder(tmp_path)
        listed = root / "instances.csv"
        listed.write_bytes(b"\xef\xbb\xbf" + listed.read_bytes())
        (trial,) = read_folder(request(root))
        assert len(trial.gallery) == 24

    @pytest.mark.parametrize(
        ("head", "rows", "why"),
        [
            ("path,name", "", "lacks the columns instance"),
            ("path,instance", "none.jpg,a", r"none\.jpg cannot be read \(FileNotFoundError\)"),
            ("path,instance", "images/00.jpg,a\nimages/00.jpg,a", "lists an image twice"),
            (
                "path,instance",
                "images/00.jpg,a\nimages/10.jpg,b",
                r"second image of its scene \(or instance\)",
            ),
            (
                "path,instance,junk",
                "images/00.jpg,a,yes\nimages/01.jpg,a, 1",
                r"junk 'yes' for images/00\.jpg: write 1",
            ),
            (
                "path,instance,x0,y0,x1,y1",
                "images/00.jpg,a,1,,5,6",
                r"images/00\.jpg is not a number",
            ),
            (
                "path,instance,x0,y0,x1,y1",
                "images/00.jpg,a,9,2,5,6",
                r"instances\.csv, images/00\.jpg: The box .* empty",
            ),
        ],
    )
    def test_a_list_with_faults_is_refused(self, tmp_path, head, rows, why):
        root = make_csv_folder(tmp_path)
        (root / "instances.csv").write_text(f"{head}\n{rows}\n")
        with pytest.raises(RequestError, match=why):
            read_folder(request(root, "boxes" if "x0" in head else None))
