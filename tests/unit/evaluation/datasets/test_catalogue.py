"""Datasets by name: what each needs, and what is added to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from descriptors.errors import RequestError
from evaluation.datasets.catalogue import FitOn, read_dataset
from tests.support.datasets import make_distractors, make_folder, make_oxford, make_paris


@pytest.fixture(scope="module")
def oxford(tmp_path_factory):
    return make_oxford(tmp_path_factory.mktemp("oxford"))


@pytest.fixture(scope="module")
def paris(tmp_path_factory):
    return FitOn("paris6k", make_paris(tmp_path_factory.mktemp("paris")))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return make_distractors(tmp_path_factory.mktemp("others"), 5)


class TestFitOn:
    def test_a_kind_and_a_folder(self):
        assert FitOn.parse("paris6k:data/p", "oxford5k") == FitOn("paris6k", Path("data/p"))
        assert FitOn.parse("images:/a:b", "holidays") == FitOn("images", Path("/a:b"))

    @pytest.mark.parametrize(
        ("dataset", "kind"),
        [
            ("oxford5k", "paris6k"),
            ("paris106k", "oxford5k"),
            ("roxford5k+1m", "paris6k"),
            ("photos", "photos"),
            ("folder", "images"),
            ("holidays", "images"),
        ],
    )
    def test_a_folder_alone_is_of_the_usual_kind(self, dataset, kind):
        assert FitOn.parse("C:/data", dataset) == FitOn(kind, Path("C:/data"))

    def test_the_packaged_whitening_is_fitted_on_nothing(self, oxford):
        fit_on = FitOn.parse("packaged", "oxford5k")
        (trial,) = read_dataset("oxford5k", oxford, fit_on=fit_on)
        assert trial.fit == ()

    def test_a_folder_without_images(self, oxford, tmp_path):
        (tmp_path / "photos.csv").write_text("path,scene,capture,width,height\n")
        with pytest.raises(RequestError, match="has no images: name another folder"):
            read_dataset("oxford5k", oxford, fit_on=FitOn("photos", tmp_path))

    @pytest.mark.parametrize("text", ["", "paris6k:", "images:"])
    def test_no_folder(self, text):
        with pytest.raises(RequestError, match="names no folder"):
            FitOn.parse(text, "oxford5k")

    def test_unknown_kind(self):
        with pytest.raises(RequestError, match="paris is not a folder, nor paris5k a kind"):
            FitOn.parse("paris5k:data/paris", "oxford5k")


class TestReadDataset:
    @pytest.mark.parametrize("stream", [True, False])
    def test_a_name_that_promises_more_distractors(self, oxford, paris, others, stream):
        (trial,) = read_dataset(
            "oxford105k", oxford, fit_on=paris, distractors=others, stream=stream
        )
        assert "oxford105k has at least 100,000 distractors, and this folder 5:" in trial.notes[-1]
        (trial,) = read_dataset("oxford5k", oxford, fit_on=paris, distractors=others)
        assert not any("distractors" in note for note in trial.notes)

    def test_a_box_beside_its_image_is_named(self, tmp_path, paris):
        root = make_oxford(tmp_path)
        line = "oxc1_gate_000000 500 2 600 40"
        (root / "gt_files_170407" / "gate_1_query.txt").write_text(line)
        with pytest.raises(RequestError, match=r"gate_000000\.jpg: The box .* lies outside"):
            read_dataset("oxford5k", root, fit_on=paris)

    def test_unknown_name(self, tmp_path):
        with pytest.raises(RequestError, match="choose among photos, folder, oxford5k"):
            read_dataset("oxford", tmp_path)

    def test_oxford_is_fitted_on_paris(self, oxford, paris):
        (trial,) = read_dataset("oxford5k", oxford, fit_on=paris)
        assert {image.path.split("/")[0] for image in trial.fit} == {"paris"}
        assert len(trial.fit) == len(trial.gallery) == 18

    def test_without_another_collection_to_fit_on(self, oxford):
        with pytest.raises(RequestError, match="fits the whitening on another collection"):
            read_dataset("oxford5k", oxford)

    def test_roots_as_people_write_them(self, oxford, paris, others, monkeypatch):
        expected = read_dataset("oxford5k", oxford, fit_on=paris, distractors=others)
        monkeypatch.chdir(oxford / "oxbuild_images")
        relative = [Path("..", "..", folder.name) for folder in (oxford, paris.root, others)]
        (found,) = read_dataset(
            "oxford5k",
            relative[0],
            fit_on=FitOn("paris6k", relative[1]),
            distractors=relative[2],
        )
        assert found == expected[0]
        (streamed,) = read_dataset(
            "oxford5k", Path(".."), fit_on=paris, distractors=relative[2], stream=True
        )
        assert streamed.gallery == read_dataset("oxford5k", oxford, fit_on=paris)[0].gallery
        assert streamed.streamed is not None
        assert streamed.streamed.file(4).is_file()

    def test_fitting_on_the_gallery_itself_is_said(self, oxford):
        (trial,) = read_dataset("oxford5k", oxford, fit_on=FitOn("images", oxford))
        assert trial.notes[-1].startswith("18 images of the gallery are also fitted on")

    def test_sizes_are_kept_between_runs(self, oxford, paris, tmp_path):
        told: list[tuple[str, int, int]] = []

        def tell(*what):
            told.append(what)  # type: ignore[arg-type]

        first = read_dataset("oxford5k", oxford, fit_on=paris, cache=tmp_path, progress=tell)
        assert [what for what in told if what[1] == what[2]] == [("read sizes", 18, 18)] * 2
        told.clear()
        assert (
            read_dataset("oxford5k", oxford, fit_on=paris, cache=tmp_path, progress=tell) == first
        )
        assert told == []


class TestDistractors:
    def test_they_stand_in_every_gallery_and_in_no_fit(self, tmp_path, others):
        folder = make_folder(tmp_path)
        trials = read_dataset("folder", folder, distractors=others)
        plain = read_dataset("folder", folder)
        for trial, without in zip(trials, plain, strict=True):
            added = {image.path for image in trial.gallery} - {p.path for p in without.gallery}
            assert added == {f"+distractors/{i % 2}/{i:06d}.jpg" for i in range(5)}
            assert trial.fit == without.fit
            assert trial.queries == without.queries
            paths = [image.path for image in trial.gallery]
            assert paths == sorted(paths)

    def test_files_that_are_no_images_are_left_out_and_named(self, oxford, paris, tmp_path):
        folder = make_distractors(tmp_path, 3)
        (folder / "0" / "broken.jpg").write_text("gone")
        (trial,) = read_dataset("oxford5k", oxford, fit_on=paris, distractors=folder)
        assert len(trial.gallery) == 18 + 3
        assert trial.notes[-1] == (
            "Left out, 1 that are not images (distractors): +distractors/0/broken.jpg."
        )

    def test_a_name_that_promises_them(self, paris, tmp_path):
        root = make_oxford(tmp_path)
        with pytest.raises(RequestError, match=r"oxford105k needs its distractors in .*oxc1_100k"):
            read_dataset("oxford105k", root, fit_on=paris)
        make_distractors(root / "oxc1_100k", 4)
        (trial,) = read_dataset("oxford105k", root, fit_on=paris)
        assert len(trial.gallery) == 18 + 4

    def test_those_beside_the_images_are_not_taken_for_them(self, paris, tmp_path):
        root = make_oxford(tmp_path)
        for image in (root / "oxbuild_images").iterdir():
            image.rename(root / image.name)
        (root / "oxbuild_images").rmdir()
        make_distractors(root / "oxc1_100k", 4)
        (trial,) = read_dataset("oxford5k", root, fit_on=paris)
        assert len(trial.gallery) == 18

    def test_streamed_ones_are_named_but_not_opened(self, oxford, paris, others):
        (trial,) = read_dataset("oxford5k", oxford, fit_on=paris, distractors=others, stream=True)
        assert len(trial.gallery) == 18
        assert trial.streamed is not None
        assert len(trial.streamed) == 5
        assert trial.streamed.path(0) == "+distractors/0/000000.jpg"
        assert trial.streamed.file(0).read_bytes()[:2] == b"\xff\xd8"

    def test_an_empty_folder(self, oxford, paris, tmp_path):
        with pytest.raises(RequestError, match="no images in"):
            read_dataset("oxford5k", oxford, fit_on=paris, distractors=tmp_path)
