"""Maps are encoded once, found again, and never mixed up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from descriptors.errors import RequestError
from descriptors.images import read_image
from evaluation import encoding
from evaluation.encoding import UnpackedMaps, encode_images, read_batches
from indexer.sources import Source
from tests.support.tiny_network import batch_of, tiny_encoder, tiny_settings
from tests.unit.evaluation.miniature import tell_nobody


@pytest.fixture(scope="module")
def images(trials):
    return trials[0].gallery


class Count:
    def __init__(self):
        self.done = 0

    def __call__(self, what, done, of):
        assert done <= of
        if what == "encode":
            self.done = done


class TestEncodeImages:
    def test_maps_are_those_of_the_encoder(self, images, encoded):
        encoder = encoded.encoder
        [(_, maps)] = encoded.batches([images[2]])
        image = read_image(images[2].file.read_bytes()).image
        expected = encoder.encode(batch_of(encoder, [image]))
        for kept, fresh in zip(maps.features, expected.features, strict=True):
            largest = float(fresh.values().max())
            torch.testing.assert_close(kept.values(), fresh.values(), rtol=0, atol=largest / 255)

    def test_maps_come_with_their_images(self, images, encoded):
        batches = list(encoded.batches(images))
        assert sorted(image.path for batch, _ in batches for image in batch) == [
            image.path for image in images
        ]
        assert all(len(batch) == len(maps) for batch, maps in batches)
        assert all(len({image.size for image in batch}) == 1 for batch, _ in batches)

    def test_goes_on_where_it_was_and_makes_damaged_maps_again(self, images, tmp_path):
        for some, made in ((images[:5], 5), (images, len(images) - 5)):
            count = Count()
            encode_images(some, tiny_encoder(), tmp_path, count)
            assert count.done == made
        next(tmp_path.rglob("*.maps")).write_bytes(b"cut off")
        count = Count()
        encode_images(images, tiny_encoder(), tmp_path, count)
        assert count.done == 1

    def test_the_same_bytes_under_two_names_are_encoded_once(self, images, tmp_path):
        twin = replace(images[0], path="twin.jpg", file=tmp_path / "twin.jpg")
        twin.file.write_bytes(images[0].file.read_bytes())
        count = Count()
        found = encode_images([images[0], twin], tiny_encoder(), tmp_path / "maps", count)
        assert count.done == 1
        assert sum(len(batch) for batch, _ in found.batches([images[0], twin])) == 2

    def test_maps_that_went_missing(self, images, tmp_path):
        found = encode_images(images[:2], tiny_encoder(), tmp_path, tell_nobody)
        next(tmp_path.rglob("*.maps")).unlink()
        with pytest.raises(RequestError, match="are gone: run the evaluation again"):
            list(found.batches(images[:2]))

    @pytest.mark.parametrize(
        ("changes", "seed", "encoded_again"),
        [
            ({"side": 48}, 0, 1),
            ({"side_is": "shorter"}, 0, 1),
            ({"side_multiple": 4}, 0, 1),
            ({}, 1, 1),
            ({"n_classes": 2, "power": 1.0, "weight_floor": 0.5, "n_pca": 3}, 0, 0),
        ],
    )
    def test_what_changes_maps_keeps_them_apart(
        self, images, tmp_path, changes, seed, encoded_again
    ):
        encode_images(images[:1], tiny_encoder(), tmp_path, tell_nobody)
        count = Count()
        encode_images(
            images[:1], tiny_encoder(tiny_settings(**changes), seed=seed), tmp_path, count
        )
        assert count.done == encoded_again


class TestUnpackedMaps:
    @pytest.mark.parametrize("coarse", [False, True])
    def test_they_are_read_once_as_a_gallery_keeps_them(self, images, encoded, *, coarse):
        digest = encoded.digests[images[0].file]
        unpacked = UnpackedMaps(encoded.store, encoded.encoder, coarse=coarse)
        first = unpacked.get({"a": digest, "none": "0" * 64})
        assert list(first) == ["a"]
        assert unpacked.get({"b": digest})["b"] is first["a"]
        full = encoded.store.get({"a": digest})["a"]
        expected = full.averaged() if coarse else full
        for found, right in zip(first["a"].layers, expected.layers, strict=True):
            assert found.levels.equal(right.levels)

    def test_no_more_of_them_than_the_memory_given(self, images, encoded, monkeypatch):
        monkeypatch.setattr(encoding, "MAX_UNPACKED", 1)
        digests = [encoded.digests[image.file] for image in images[:2]]
        unpacked = UnpackedMaps(encoded.store, encoded.encoder, coarse=False)
        first = unpacked.get({"a": digests[0]})["a"]
        unpacked.get({"b": digests[1]})
        assert unpacked.get({"a": digests[0]})["a"] is not first


class TestReadBatches:
    def test_what_is_no_image_stops_it_or_is_left_out(self, images, tmp_path):
        (tmp_path / "no.jpg").write_text("no")
        files = [images[0].file, tmp_path / "no.jpg", images[1].file]
        sources = [Source(str(at), str(file)) for at, file in enumerate(files)]
        with pytest.raises(RequestError, match=r"no\.jpg: The file is not an image"):
            list(read_batches(sources, tiny_settings()))
        batches = read_batches(sources, tiny_settings(), leave_out=True)
        assert sorted(one.source.id for batch in batches for one in batch) == ["0", "2"]

    def test_a_missing_file_stops_it_at_any_rate(self, tmp_path):
        sources = [Source("a", str(tmp_path / "none.jpg"))]
        with pytest.raises(RequestError, match=r"none\.jpg"):
            list(read_batches(sources, tiny_settings(), leave_out=True))
