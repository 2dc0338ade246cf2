"""The protocol: halves, positives, junk and boxes, and what is said where a file is wrong."""

from __future__ import annotations

import shutil

import pytest

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.datasets.photos import read_photos, read_trials
from tests.unit.evaluation.miniature import make_miniature, write_rows


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_miniature(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def lists(made, tmp_path):
    """A folder with the three lists alone, to be spoilt."""
    for name in ("photos.csv", "queries.csv", "junk.csv"):
        shutil.copy(made / name, tmp_path / name)
    return tmp_path


class TestReadPhotos:
    def test_an_image_and_a_distractor(self, made):
        images = {image.path: image for image in read_photos(made)}
        church = images["instances/church/000.jpg"]
        assert (church.scene, church.capture) == ("church", "photo_collection")
        assert church.size == Size(96, 80)
        assert church.file == made / "instances/church/000.jpg"
        assert images["distractors/made/0000.jpg"].scene == ""

    def test_they_come_in_order_of_their_paths(self, made):
        paths = [image.path for image in read_photos(made)]
        assert len(paths) == 24
        assert paths == sorted(paths)


class TestReadTrials:
    def test_scenes_of_even_position_and_the_first_distractors_are_half_0(self, made):
        zero, one = read_trials(made, "full")
        assert {image.scene for image in zero.gallery} == {"bridge", "fountain", ""}
        assert {image.scene for image in one.gallery} == {"church", "gate", ""}
        names = [image.path for image in zero.gallery if not image.scene]
        assert names == [f"distractors/made/{i:04d}.jpg" for i in range(4)]

    def test_each_half_is_fitted_on_the_other(self, made):
        zero, one = read_trials(made, "full")
        assert (zero.fit, one.fit) == (one.gallery, zero.gallery)
        assert (zero.name, one.name) == ("half 0", "half 1")

    def test_every_image_of_a_scene_is_a_full_query(self, made):
        zero, _ = read_trials(made, "full")
        assert len(zero.queries) == 8
        query = next(q for q in zero.queries if q.image.path == "instances/bridge/000.jpg")
        assert query.box is None
        assert query.judgements["all"].positives == {
            f"instances/bridge/{i:03d}.jpg" for i in (1, 2, 3)
        }
        assert query.judgements["all"].junk == frozenset()

    def test_collections_are_told_apart(self, made):
        zero, one = read_trials(made, "full")
        assert not any("collections" in query.judgements for query in zero.queries)
        assert all("collections" in query.judgements for query in one.queries)

    def test_boxes_take_junk_out(self, made):
        zero, one = read_trials(made, "boxes")
        assert (len(zero.queries), len(one.queries)) == (2, 1)
        query = zero.queries[0]
        assert query.box == Box(8, 8, 80, 72)
        assert query.judgements["all"].positives == {
            f"instances/bridge/{i:03d}.jpg" for i in (0, 2)
        }
        assert query.judgements["all"].junk == {"instances/bridge/003.jpg"}

    def test_the_box_of_another_query_is_the_place_of_a_right_answer(self, lists):
        boxes = [(f"instances/church/{i:03d}.jpg", "church", i, 0, 9, 9) for i in (0, 1, 2)]
        write_rows(
            lists / "queries.csv", [*boxes, ("instances/bridge/000.jpg", "bridge", 0, 0, 9, 9)]
        )
        _, one = read_trials(lists, "boxes")
        assert one.queries[1].places == {
            f"instances/church/{i:03d}.jpg": (Box(i, 0, 9, 9),) for i in (0, 2)
        }

    def test_several_boxes_of_an_image_are_several_queries(self, lists):
        path = "instances/church/001.jpg"
        rows = [(path, "church", 0, 0, n, n) for n in (20, 40)]
        rows.append(("instances/bridge/000.jpg", "bridge", 0, 0, 9, 9))
        write_rows(lists / "queries.csv", rows)
        _, one = read_trials(lists, "boxes")
        assert [query.box for query in one.queries] == [Box(0, 0, 20, 20), Box(0, 0, 40, 40)]

    def test_another_folder_to_fit_on_makes_one_trial_of_all(self, made, lists):
        [trial] = read_trials(made, "full", lists)
        assert len(trial.gallery) == 24
        assert len(trial.queries) == 16
        assert {image.file.parents[2] for image in trial.fit} == {lists}

    def test_full_images_need_no_other_list(self, lists):
        for name in ("queries.csv", "junk.csv"):
            (lists / name).unlink()
        assert len(read_trials(lists, "full")) == 2
        with pytest.raises(RequestError, match=r"queries\.csv cannot be read"):
            read_trials(lists, "boxes")


THINGS = """path,scene,capture,width,height,kind
a.jpg,cup;pen,,40,30,goods
b.jpg,cup,,40,30,goods
c.jpg,cup;pen,,40,30,goods
d.jpg,star,,40,30,logo
e.jpg,star,,40,30,logo
f.jpg,,,40,30,
"""


@pytest.fixture
def things(tmp_path):
    """The lists of images that show several things."""
    (tmp_path / "photos.csv").write_text(THINGS)
    queries = [("a.jpg", "cup", 0, 0, 9, 9), ("a.jpg", "pen", 9, 9, 20, 20)]
    write_rows(tmp_path / "queries.csv", [*queries, ("d.jpg", "star", 5, 5, 15, 15)])
    write_rows(tmp_path / "junk.csv", [("star", "b.jpg", "a star on the cup, not boxed")])
    boxes = [("b.jpg", "cup", 1, 1, 8, 8), ("b.jpg", "cup", 20, 1, 28, 8)]
    boxes += [("c.jpg", "cup", 2, 2, 9, 9), ("c.jpg", "pen", 5, 0, 20, 9)]
    write_rows(tmp_path / "boxes.csv", [*queries, *boxes, ("e.jpg", "star", 0, 0, 30, 30)])
    return tmp_path


class TestThings:
    def test_every_box_asks_for_its_own_thing(self, things):
        (trial,) = read_trials(things, "boxes", ())
        asked = {tuple(query.judgements): [] for query in trial.queries}
        for query in trial.queries:
            judgement = query.judgements["all"]
            asked[tuple(query.judgements)].append((query.box, sorted(judgement.positives)))
        assert asked == {
            ("all", "goods"): [
                (Box(0, 0, 9, 9), ["b.jpg", "c.jpg"]),
                (Box(9, 9, 20, 20), ["c.jpg"]),
            ],
            ("all", "logo"): [(Box(5, 5, 15, 15), ["e.jpg"])],
        }
        assert (trial.name, trial.fit, len(trial.gallery)) == ("all", (), 6)

    def test_places_of_right_answers_and_their_alternatives(self, things):
        cup, pen, star = read_trials(things, "boxes", ())[0].queries
        assert cup.places == {
            "b.jpg": (Box(1, 1, 8, 8), Box(20, 1, 28, 8)),
            "c.jpg": (Box(2, 2, 9, 9),),
        }
        assert pen.places == {"c.jpg": (Box(5, 0, 20, 9),)}
        assert star.places == {"e.jpg": (Box(0, 0, 30, 30),)}

    def test_junk_is_of_one_thing(self, things):
        junk = [
            query.judgements["all"].junk for query in read_trials(things, "boxes", ())[0].queries
        ]
        assert junk == [frozenset(), frozenset(), {"b.jpg"}]

    def test_without_boxes_csv_the_places_are_the_boxes_of_queries(self, made):
        rows = [query for trial in read_trials(made, "boxes") for query in trial.queries]
        assert {query.image.path: query.places for query in rows} == {
            f"instances/{scene}/001.jpg": {} for scene in ("bridge", "fountain", "church")
        }

    @pytest.mark.parametrize(
        ("queries", "fit", "why"),
        [
            ("full", (), r"a\.jpg shows several things.* add --queries boxes"),
            ("boxes", None, r"has no halves: add --fit-on packaged"),
        ],
    )
    def test_full_images_and_halves_are_refused(self, things, queries, fit, why):
        with pytest.raises(RequestError, match=why):
            read_trials(things, queries, fit)

    @pytest.mark.parametrize(
        ("name", "row", "why"),
        [
            ("boxes", "f.jpg,cup,0,0,9,9", r"boxes\.csv lists f\.jpg, which is not an image of a"),
            ("boxes", "b.jpg,pen,0,0,9,9", r"boxes\.csv has a box of 'pen' in b\.jpg.*shows cup"),
            ("queries", "a.jpg,,0,0,9,9", r"queries\.csv has a box of 'cup;pen' in a\.jpg"),
            ("junk", "ladle,a.jpg,", r"for 'ladle', which no image of photos\.csv shows"),
        ],
    )
    def test_lists_that_contradict_each_other(self, things, name, row, why):
        with (things / f"{name}.csv").open("a") as file:
            file.write(f"{row}\n")
        with pytest.raises(RequestError, match=why):
            read_trials(things, "boxes", ())


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("photos", None, r"photos\.csv cannot be read \(FileNotFoundError"),
        ("photos", "path,scene,width\na,b,3", "lacks the columns capture, height"),
        ("photos", "a.jpg,s,,wide,3", r"width or height of a\.jpg is not a number"),
        ("photos", "a,b", r"Row 2 of .* is cut short"),
        ("photos", "a.jpg,s,,3,3\na.jpg,s,,3,3", r"lists a\.jpg twice"),
        ("photos", "a.jpg,s,,3,3\nb.jpg,t,,3,3", "No image of this gallery is a query"),
        ("queries", "lost.jpg,church,0,0,9,9", r"queries\.csv lists lost\.jpg"),
        ("queries", "instances/gate/000.jpg,gate,9,0,9,9", "is empty"),
        ("junk", "s,elsewhere.jpg,", r"junk\.csv lists elsewhere\.jpg, which is not in"),
    ],
)
def test_a_list_with_faults_is_refused(lists, name, text, why):
    path = lists / f"{name}.csv"
    head = path.read_text().splitlines()[0]
    if text is None:
        path.unlink()
    else:
        path.write_text(text if text.startswith("path,") else f"{head}\n{text}\n")
    with pytest.raises(RequestError, match=why):
        read_trials(lists, "full" if name == "photos" else "boxes")
