"""Maps are encoded once, found again, and never mixed up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from descriptors.errors import RequestError
from es_mappings.documents import Document
from evaluation.encoding import PhotoMaps, encode_again, encode_photos, picture_of
from evaluation.photos import Photo, read_photos
from tests.support.tiny_network import batch_of, tiny_encoder, tiny_settings
from tests.unit.evaluation.miniature import make_miniature

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Photo, ...]:
    return read_photos(make_miniature(tmp_path_factory.mktemp("photos")))


class Count:
    """How many photos were encoded."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, what: str, done: int, of: int) -> None:
        assert done <= of
        if what == "encode":
            self.done = done


class TestEncodePhotos:
    def test_maps_are_those_of_the_encoder(self, photos: tuple[Photo, ...], tmp_path: Path):
        encoder = tiny_encoder()
        found = encode_photos(photos[:3], encoder, tmp_path, Count())
        [(_, maps)] = found.batches([photos[2]])
        expected = encoder.encode(batch_of(encoder, [picture_of(photos[2]).image]))
        for kept, fresh in zip(maps.features, expected.features, strict=True):
            largest = float(fresh.values().max())
            torch.testing.assert_close(kept.values(), fresh.values(), rtol=0, atol=largest / 255)

    def test_goes_on_where_it_was(self, photos: tuple[Photo, ...], tmp_path: Path):
        count = Count()
        encode_photos(photos[:5], tiny_encoder(), tmp_path, count)
        assert count.done == 5
        encode_photos(photos, tiny_encoder(), tmp_path, count)
        assert count.done == len(photos) - 5

    def test_damaged_maps_are_made_again(self, photos: tuple[Photo, ...], tmp_path: Path):
        encode_photos(photos[:4], tiny_encoder(), tmp_path, Count())
        next(tmp_path.rglob("*.maps")).write_bytes(b"cut off")
        count = Count()
        encode_photos(photos[:4], tiny_encoder(), tmp_path, count)
        assert count.done == 1

    def test_the_same_bytes_under_two_names_are_encoded_once(
        self, photos: tuple[Photo, ...], tmp_path: Path
    ):
        twin = replace(photos[0], path="twin.jpg", file=tmp_path / "twin.jpg")
        twin.file.write_bytes(photos[0].file.read_bytes())
        count = Count()
        found = encode_photos([photos[0], twin], tiny_encoder(), tmp_path / "maps", count)
        assert count.done == 1
        assert sum(len(batch) for batch, _ in found.batches([photos[0], twin])) == 2

    def test_maps_that_went_missing(self, photos: tuple[Photo, ...], tmp_path: Path):
        found = encode_photos(photos[:2], tiny_encoder(), tmp_path, Count())
        next(tmp_path.rglob("*.maps")).unlink()
        with pytest.raises(RequestError, match="are gone: run the evaluation again"):
            list(found.batches(photos[:2]))


class TestPhotoMaps:
    @pytest.mark.parametrize(
        "changes", [{"side": 48}, {"side_is": "shorter"}, {"side_multiple": 4}]
    )
    def test_what_changes_maps_keeps_them_apart(
        self, photos: tuple[Photo, ...], tmp_path: Path, changes: dict
    ):
        encode_photos(photos[:2], tiny_encoder(), tmp_path, Count())
        count = Count()
        encode_photos(photos[:2], tiny_encoder(tiny_settings(**changes)), tmp_path, count)
        assert count.done == 2

    def test_other_weights_keep_them_apart(self, photos: tuple[Photo, ...], tmp_path: Path):
        encode_photos(photos[:2], tiny_encoder(), tmp_path, Count())
        count = Count()
        encode_photos(photos[:2], tiny_encoder(seed=1), tmp_path, count)
        assert count.done == 2

    def test_what_does_not_change_maps_shares_them(self, photos: tuple[Photo, ...], tmp_path: Path):
        encode_photos(photos[:2], tiny_encoder(), tmp_path, Count())
        count = Count()
        settings = tiny_settings(n_classes=2, power=1.0, weight_floor=0.5, n_pca=3)
        encode_photos(photos[:2], tiny_encoder(settings), tmp_path, count)
        assert count.done == 0

    def test_asked_for_by_any_name(self, photos: tuple[Photo, ...], tmp_path: Path):
        encoder = tiny_encoder()
        digests = encode_photos(photos[:1], encoder, tmp_path, Count()).digests
        digest = digests[photos[0].file]
        found = PhotoMaps(tmp_path, encoder).get({"any": digest, "none": "0" * 64})
        assert set(found) == {"any"}
        assert found["any"].digest == digest


class TestUnpackedMaps:
    def test_what_was_read_stays_unpacked(self, photos: tuple[Photo, ...], tmp_path: Path):
        encoder = tiny_encoder()
        digests = encode_photos(photos[:3], encoder, tmp_path, Count()).digests
        wanted = {digest: digest for digest in digests.values()}
        store = PhotoMaps(tmp_path, encoder)
        first, again = store.get_timed(wanted), store.get_timed(wanted)
        assert all(read.spared_ms == 0 for read in first.values())
        for digest, read in again.items():
            assert read.maps is first[digest].maps
            assert read.spared_ms == first[digest].milliseconds > 0

    def test_averaged_once_and_kept_beside_the_full_ones(
        self, photos: tuple[Photo, ...], tmp_path: Path
    ):
        encoder = tiny_encoder()
        [digest] = encode_photos(photos[:1], encoder, tmp_path, Count()).digests.values()
        store = PhotoMaps(tmp_path, encoder)
        full = store.get_timed({"x": digest})["x"].maps
        averaged = store.get_timed({"x": digest}, averaged=True)["x"].maps
        expected = full.averaged()
        assert averaged.shape == expected.shape != full.shape
        for found, right in zip(averaged.layers, expected.layers, strict=True):
            assert found.levels.equal(right.levels)
        assert store.get_timed({"x": digest}, averaged=True)["x"].maps is averaged
        assert store.get_timed({"x": digest})["x"].maps is full

    def test_no_more_than_the_memory_given(self, photos: tuple[Photo, ...], tmp_path: Path):
        encoder = tiny_encoder()
        digests = list(encode_photos(photos[:3], encoder, tmp_path, Count()).digests.values())
        one = PhotoMaps(tmp_path, encoder).get({"x": digests[0]})["x"]
        levels = sum(layer.levels.numel() for layer in one.layers)
        store = PhotoMaps(tmp_path, encoder, most_bytes=2 * levels)
        for digest in digests:
            store.get_timed({digest: digest})
        assert store.get_timed({"x": digests[2]})["x"].spared_ms > 0
        assert store.get_timed({"x": digests[0]})["x"].spared_ms == 0


class TestEncodeAgain:
    def test_maps_are_as_they_would_be_kept(self, photos: tuple[Photo, ...], tmp_path: Path):
        encoder = tiny_encoder()
        kept = encode_photos(photos[:3], encoder, tmp_path, Count())
        hits = [
            Document(p.path, str(p.file), "", *p.size, np.zeros(2, np.float32)) for p in photos[:3]
        ]
        found = encode_again(hits, encoder)
        assert set(found) == {photo.path for photo in photos[:3]}
        digests = {photo.path: kept.digests[photo.file] for photo in photos[:3]}
        for path, expected in kept.store.get(digests).items():
            for mine, theirs in zip(found[path].layers, expected.layers, strict=True):
                torch.testing.assert_close(mine.values(), theirs.values())
            torch.testing.assert_close(found[path].scores, expected.scores)

    def test_a_damaged_picture_is_left_out(self, tmp_path: Path):
        (tmp_path / "no.jpg").write_text("no")
        hit = Document("a", str(tmp_path / "no.jpg"), "", 9, 9, np.zeros(2, np.float32))
        assert encode_again([hit], tiny_encoder()) == {}

    def test_a_missing_picture(self, tmp_path: Path):
        hit = Document("a", str(tmp_path / "none.jpg"), "", 9, 9, np.zeros(2, np.float32))
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            encode_again([hit], tiny_encoder())
