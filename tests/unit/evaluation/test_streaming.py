"""Streamed photos count as any others, are made once, and are never held all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from descriptors.arrays import Size
from descriptors.errors import RequestError
from descriptors.method import Method
from descriptors.settings import RegionSettings
from es_mappings.documents import Document
from evaluation import streaming
from evaluation.datasets.catalogue import FitOn, read_dataset
from evaluation.encoding import as_kept, encode_photos
from evaluation.galleries import MemoryGallery, StreamedGallery
from evaluation.ours import fit_whitening, score_ours
from evaluation.stages import OFFLINE_STAGES, Stage
from evaluation.streaming import Describer, StreamedVectors, stream_photos
from evaluation.trials import StreamedPhotos
from tests.support.datasets import make_distractors, make_oxford, make_paris, make_revisited
from tests.support.tiny_network import tiny_encoder
from tests.support.tolerances import LEAST_COSINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.scores import Score
    from evaluation.trials import Trial

REGIONS = RegionSettings(n_classes=4, least_side=8)
DISTRACTORS = 11


def tell_nobody(what: str, done: int, of: int) -> None:
    """No progress is looked at."""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_distractors(tmp_path_factory.mktemp("distractors"), DISTRACTORS)


@pytest.fixture(scope="module")
def photos(folder: Path) -> StreamedPhotos:
    files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.jpg"))
    return StreamedPhotos(folder, tuple(files), "+")


class Mean:
    """Describes maps by the means of the last layer's channels; counts its pictures."""

    def __init__(self, name: str = "mean", fingerprint: str = "1") -> None:
        self.seen = 0
        self.describer = Describer(name, fingerprint, 12, self._describe)

    def _describe(self, maps: object) -> torch.Tensor:
        features = maps.features[-1].values().mean(dim=(2, 3))  # type: ignore[attr-defined]
        self.seen += len(features)
        return torch.nn.functional.normalize(features, dim=1)


@pytest.mark.usefixtures("small_blocks")
class TestStreamPhotos:
    def test_vectors_and_sizes_are_those_of_each_photo(
        self, photos: StreamedPhotos, tmp_path: Path
    ):
        mean, encoder = Mean(), tiny_encoder()
        found = stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)["mean"]
        assert len(photos) == DISTRACTORS
        assert [len(block) for block in found.blocks] == [4, 4, 3]
        assert {tuple(size) for size in found.sizes.tolist()} == {(96, 96), (96, 80)}
        assert found.unreadable == ()
        cosines = found.cosines(found.vector(6))
        assert int(cosines.argmax()) == 6
        assert cosines[6] == pytest.approx(1, abs=2e-3)

    def test_a_second_run_makes_nothing(self, photos: StreamedPhotos, tmp_path: Path):
        mean, encoder = Mean(), tiny_encoder()
        first = stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)["mean"]
        assert mean.seen == DISTRACTORS
        again = stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)["mean"]
        assert mean.seen == DISTRACTORS
        vector = first.vector(0)
        np.testing.assert_array_equal(again.cosines(vector), first.cosines(vector))

    def test_goes_on_at_the_block_where_it_was(self, photos: StreamedPhotos, tmp_path: Path):
        mean, encoder = Mean(), tiny_encoder()
        told: list[int] = []

        def stop_after_one_block(_what: str, done: int, _of: int) -> None:
            told.append(done)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stream_photos(photos, [mean.describer], encoder, tmp_path, stop_after_one_block)
        assert told == [4]
        stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)
        assert mean.seen == DISTRACTORS

    def test_another_system_reads_them_again_and_only_for_itself(
        self, photos: StreamedPhotos, tmp_path: Path
    ):
        mean, other, encoder = Mean(), Mean("other"), tiny_encoder()
        stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)
        both = [mean.describer, other.describer]
        found = stream_photos(photos, both, encoder, tmp_path, tell_nobody)
        assert (mean.seen, other.seen) == (DISTRACTORS, DISTRACTORS)
        assert set(found) == {"mean", "other"}

    @pytest.mark.parametrize("changed", ["fingerprint", "weights"])
    def test_what_changes_vectors_keeps_them_apart(
        self, photos: StreamedPhotos, tmp_path: Path, changed: str
    ):
        stream_photos(photos, [Mean().describer], tiny_encoder(), tmp_path, tell_nobody)
        mean = Mean(fingerprint="2" if changed == "fingerprint" else "1")
        encoder = tiny_encoder(seed=1 if changed == "weights" else 0)
        stream_photos(photos, [mean.describer], encoder, tmp_path, tell_nobody)
        assert mean.seen == DISTRACTORS

    def test_a_changed_file_changes_its_block_alone(
        self, photos: StreamedPhotos, folder: Path, tmp_path: Path
    ):
        copied = replace(photos, folder=tmp_path / "copy")
        for name in photos.names:
            target = copied.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((folder / name).read_bytes())
        mean, encoder = Mean(), tiny_encoder()
        stream_photos(copied, [mean.describer], encoder, tmp_path / "kept", tell_nobody)
        copied.file(10).write_bytes(copied.file(0).read_bytes())
        found = stream_photos(copied, [mean.describer], encoder, tmp_path / "kept", tell_nobody)
        assert mean.seen == DISTRACTORS + 3
        np.testing.assert_array_equal(found["mean"].vector(10), found["mean"].vector(0))

    def test_a_file_that_is_no_picture_is_never_found(self, tmp_path: Path):
        folder = make_distractors(tmp_path / "d", 3)
        (folder / "0" / "000009.jpg").write_text("<html>gone</html>")
        names = tuple(sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.jpg")))
        photos = StreamedPhotos(folder, names, "+")
        found = stream_photos(
            photos, [Mean().describer], tiny_encoder(), tmp_path / "kept", tell_nobody
        )["mean"]
        assert found.unreadable == ("0/000009.jpg",)
        row = names.index("0/000009.jpg")
        assert found.cosines(found.vector(0))[row] == -np.inf

    def test_a_file_that_went_missing(self, photos: StreamedPhotos, tmp_path: Path):
        gone = replace(photos, names=(*photos.names, "none.jpg"))
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            stream_photos(gone, [Mean().describer], tiny_encoder(), tmp_path, tell_nobody)


class TestAsKept:
    @pytest.mark.slow
    def test_a_streamed_photo_has_the_vector_that_it_would_have_in_the_gallery(
        self, tmp_path: Path
    ):
        (trial,) = read_dataset(
            "oxford5k",
            make_oxford(tmp_path / "o"),
            fit_on=FitOn("paris6k", make_paris(tmp_path / "p")),
        )
        encoder = tiny_encoder()
        encoded = encode_photos(trial.photos, encoder, tmp_path / "maps", tell_nobody)
        method = Method(encoder, fit_whitening(trial.fit, encoded))
        for photos, maps in encoded.batches(trial.gallery[:6]):
            pixels = [streaming.decode([("", p.file)], encoder.settings) for p in photos]
            groups = [next(one)[0].pixels for one in pixels]
            fresh = as_kept(encoder.encode(encoder.prepare(groups)))
            expected = method.describe_encoded(maps).descriptors
            found = method.describe_encoded(fresh).descriptors
            assert float((expected * found).sum(dim=1).min()) > LEAST_COSINE


class TestStreamedGallery:
    """Two photos at hand, three streamed, on the circle."""

    @staticmethod
    def gallery(least: int) -> StreamedGallery:
        def at(degrees: Sequence[float]) -> np.ndarray:
            angles = np.radians(degrees)
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

        rows = at([20, 60])
        documents = {
            name: Document(name, name, "", 9, 9, row) for name, row in zip("ab", rows, strict=True)
        }
        photos = StreamedPhotos(Path("/far"), ("x.jpg", "y.jpg", "z.jpg"), "+")
        blocks = (at([5, 30, 80]).astype(np.float16),)
        sizes = np.array([[4, 3]] * 3, np.int32)
        return StreamedGallery(documents, StreamedVectors(photos, blocks, sizes), least)

    def test_both_kinds_are_ranked_together(self):
        gallery = self.gallery(least=5)
        hits = gallery.knn(np.array([1, 0], np.float32), 5)
        assert [hit.id for hit in hits] == ["+x.jpg", "a", "+y.jpg", "b", "+z.jpg"]
        assert hits[1].cosine == pytest.approx(np.cos(np.radians(20)))
        assert len(gallery) == 5

    def test_an_answer_ends_with_the_last_right_one(self):
        gallery = self.gallery(least=1)
        gallery.look_for({"a", "not in the gallery"})
        hits = gallery.knn(np.array([1, 0], np.float32), 5)
        assert [hit.id for hit in hits] == ["+x.jpg", "a"]

    def test_it_has_as_many_as_a_stage_reads(self):
        gallery = self.gallery(least=3)
        gallery.look_for({"a"})
        assert len(gallery.knn(np.array([1, 0], np.float32), 5)) == 3
        assert len(gallery.knn(np.array([1, 0], np.float32), 2)) == 2

    def test_a_streamed_hit_says_where_its_picture_lies(self):
        gallery = self.gallery(least=5)
        gallery.knn(np.array([1, 0], np.float32), 5)
        found = gallery.get(["+y.jpg", "b", "unknown"])
        assert set(found) == {"+y.jpg", "b"}
        streamed = found["+y.jpg"]
        assert (streamed.uri, streamed.width, streamed.height) == ("/far/y.jpg", 4, 3)
        assert streamed.descriptor == pytest.approx([np.cos(np.pi / 6), 0.5], abs=1e-3)

    def test_it_is_searched_as_a_gallery_in_memory(self):
        gallery, plain = self.gallery(least=5), MemoryGallery(self.gallery(5).get(["a", "b"]))
        query = np.array([0, 1], np.float32)
        mine = [hit for hit in gallery.knn(query, 5) if hit.id in "ab"]
        assert mine == plain.knn(query, 2)


class TestScores:
    """The same pictures, streamed and as plain photos of the gallery."""

    def test_answers_that_end_early_score_as_whole_ones(self, tmp_path: Path):
        stages = (Stage("first"), Stage("R5", 5), Stage("R5+QE3", 5, 3))
        root, paris = make_revisited(tmp_path / "root"), make_paris(tmp_path / "paris")
        others = make_distractors(tmp_path / "others", 20)
        found = {}
        for stream in (False, True):
            (trial,) = read_dataset(
                "roxford5k",
                root,
                fit_on=FitOn("paris6k", paris),
                distractors=others,
                stream=stream,
            )
            found[stream] = _offline(trial, tmp_path / "maps", stages)
        assert {s: x.ranks for s, x in found[True].items()} == {
            s: x.ranks for s, x in found[False].items()
        }
        assert len(found[True]) == 9
        assert [s.precision for s in found[True].values()] == [
            pytest.approx(s.precision) for s in found[False].values()
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["oxford5k", "roxford5k"])
    def test_every_stage_scores_as_with_plain_photos(self, name: str, tmp_path: Path):
        make = make_oxford if name == "oxford5k" else make_revisited
        root, paris = make(tmp_path / "root"), make_paris(tmp_path / "paris")
        others = make_distractors(tmp_path / "others", 40)
        found = {}
        for stream in (False, True):
            (trial,) = read_dataset(
                name, root, fit_on=FitOn("paris6k", paris), distractors=others, stream=stream
            )
            found[stream] = _offline(trial, tmp_path / "maps")
        assert set(found[True]) == set(found[False])
        assert len(found[True]) == 8 * (6 if name == "oxford5k" else 3)
        for key, plain in found[False].items():
            streamed = found[True][key]
            assert streamed.ranks == plain.ranks, key
            assert streamed.precision == pytest.approx(plain.precision), key

    @pytest.mark.slow
    def test_distractors_do_count(self, tmp_path: Path):
        """Otherwise the test above would prove nothing."""
        root, paris = make_oxford(tmp_path / "root"), make_paris(tmp_path / "paris")
        others = make_distractors(tmp_path / "others", 40)
        fit_on = FitOn("paris6k", paris)
        (plain,) = read_dataset("oxford5k", root, fit_on=fit_on)
        (larger,) = read_dataset("oxford5k", root, fit_on=fit_on, distractors=others, stream=True)
        without, with_them = (_offline(t, tmp_path / "maps") for t in (plain, larger))
        assert any(with_them[key].ranks != without[key].ranks for key in without)


def _offline(
    trial: Trial, maps: Path, stages: Sequence[Stage] = OFFLINE_STAGES
) -> dict[tuple[str, str], Score]:
    """OfA's score of each query at each stage."""
    encoded = encode_photos(trial.photos, tiny_encoder(), maps, tell_nobody)
    scores = score_ours(trial, encoded, REGIONS, tell_nobody, {"OfA": stages})
    return {(s.stage, s.query.name): s for s in scores if s.system == "OfA"}


def test_sizes_count_upright_pixels(tmp_path: Path):
    from tests.support.pictures import letter, with_orientation

    (tmp_path / "turned.jpg").write_bytes(with_orientation(letter(50, 60), 6))
    photos = StreamedPhotos(tmp_path, ("turned.jpg",), "+")
    found = stream_photos(
        photos, [Mean().describer], tiny_encoder(), tmp_path / "kept", tell_nobody
    )
    assert Size(*found["mean"].sizes[0].tolist()) == Size(50, 60)
