"""Kept maps: what is lost by keeping them, and that damaged ones never do harm."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace

import pytest
import torch
import zstandard
from safetensors.torch import load, save

from descriptors.arrays import Size
from galleries.errors import FeatureStoreError
from galleries.features import FeatureStore
from galleries.kept_maps import pack, quantise, stack_kept, unpack
from tests.support.images import collection
from tests.support.tiny_network import batch_of, feature_maps, tiny_encoder, tiny_settings

CPU = torch.device("cpu")
FINGERPRINT, OTHER = "a" * 64, "b" * 64
DIGEST = "d" * 64
ODD_IDS = ["ü/Ω/写真 01.jpg", "🏰", "../../etc/passwd", "/a b?#*[x]", "x" * 512, "é" * 256, " "]


@pytest.fixture(scope="module")
def encoded():
    """Fresh maps of three images; the evidence is the last feature layer."""
    encoder = tiny_encoder()
    return encoder.encode(batch_of(encoder, collection(3, 64, 48, seed=3)))


@pytest.fixture(scope="module")
def mid_only():
    """Fresh maps whose evidence is a layer of its own."""
    encoder = tiny_encoder(tiny_settings(layers=[{"name": "mid", "dims": 6}]))
    return encoder.encode(batch_of(encoder, collection(2, 48, 64, seed=4)))


@pytest.fixture(scope="module")
def block(encoded):
    """The packed maps of one image."""
    return pack(encoded[:1], [DIGEST])[0]


@pytest.fixture(params=["folder", "memory"])
def new_store(request, tmp_path):
    """Makes stores at one place, of a folder and in memory."""
    opened = []
    address = str(tmp_path / "maps")
    if request.param == "memory":
        address = f"memory://{uuid.uuid4().hex}/maps"

    def make(fingerprint=FINGERPRINT):
        opened.append(FeatureStore(address, fingerprint))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def store(new_store):
    return new_store()


def assert_same_maps(expected, found):
    """Two kept images are equal to the last bit."""
    assert (expected.features, expected.evidence, expected.working, expected.digest) == (
        (found.features, found.evidence, found.working, found.digest)
    )
    assert torch.equal(expected.scores, found.scores)
    assert len(expected.layers) == len(found.layers)
    for one, other in zip(expected.layers, found.layers, strict=True):
        assert one.stride == other.stride
        assert torch.equal(one.levels, other.levels)
        assert torch.equal(one.scale, other.scale)


class TestQuantise:
    def test_levels_worked_out_by_hand(self):
        # The scale is the channel's maximum / 255: 0.02 and 1.
        kept = quantise(feature_maps([[[5.1, 0.0], [0.03, 1e-6]], [[255.0, 254.4], [1.0, 0.0]]]))
        assert kept.levels.tolist() == [[[[255, 0], [2, 1]], [[255, 254], [1, 0]]]]
        assert kept.scale.tolist() == [pytest.approx([0.02, 1.0])]

    def test_an_error_is_half_a_level_at_most_and_zeros_stay(self, encoded):
        for maps in (*encoded.features, encoded.evidence):
            kept = quantise(maps)
            assert torch.equal(kept.levels > 0, maps.levels > 0)
            error = (kept.values() - maps.values()).abs()
            # What was lifted to level 1, so that it stays above 0, is off by a level at most.
            lifted = (maps.values() > 0) & (maps.values() < kept.scale[:, :, None, None] / 2)
            bound = torch.where(lifted, 1.0, 0.5) * kept.scale[:, :, None, None]
            assert (error <= bound * (1 + 1e-4)).all()

    def test_even_a_channel_of_almost_nothing(self):
        kept = quantise(feature_maps([[[1e-38, 0.0], [0.5e-38, 0.0]]]))
        assert (kept.levels > 0).flatten().tolist() == [True, False, True, False]
        assert kept.values().amax() <= 1e-37

    def test_an_empty_channel_stays_empty_beside_a_full_one(self):
        kept = quantise(feature_maps([[[0.0, 0.0]], [[2.0, 1.0]]]))
        assert kept.levels.tolist() == [[[[0, 0]], [[255, 128]]]]
        assert kept.scale[0, 0] == 0
        assert torch.equal(kept.values()[0, 0], torch.zeros(1, 2))


class TestPack:
    def test_what_is_packed_comes_back(self, encoded):
        digests = [f"{i:064x}" for i in range(3)]
        for row, data in enumerate(pack(encoded, digests)):
            kept = unpack(data)
            assert kept.digest == digests[row]
            assert (kept.features, kept.evidence) == (2, 1)
            assert kept.working == encoded.working == Size(64, 48)
            assert torch.equal(kept.scores, encoded.scores[row].half())
            for maps, fresh in zip(kept.layers, encoded.features, strict=True):
                expected = quantise(fresh)[row : row + 1]
                assert maps.stride == fresh.stride
                assert torch.equal(maps.levels, expected.levels)
                assert torch.equal(maps.scale, expected.scale)

    def test_evidence_of_its_own_comes_last(self, mid_only):
        kept = unpack(pack(mid_only, [DIGEST, DIGEST])[1])
        assert (len(kept.layers), kept.features, kept.evidence) == (2, 1, 1)
        stacked = stack_kept([kept], CPU)
        assert [maps.stride for maps in stacked.features] == [mid_only.features[0].stride]
        assert stacked.evidence.stride == mid_only.evidence.stride
        assert torch.equal(stacked.evidence.levels, quantise(mid_only.evidence)[1:2].levels)

    def test_evidence_that_is_the_first_layer_stays_there(self, encoded):
        # The other order of layers: an index, not a position at the end, says which is the evidence.
        turned = replace(encoded, features=encoded.features[::-1])
        kept = unpack(pack(turned, [DIGEST] * 3)[0])
        assert (kept.evidence, len(kept.layers)) == (0, 2)
        assert torch.equal(kept.layers[0].levels, quantise(encoded.evidence)[:1].levels)
        stacked = stack_kept([kept], CPU)
        assert stacked.evidence is stacked.features[0]

    def test_stacked_images_stand_in_their_order(self, encoded):
        packed = pack(encoded, [DIGEST] * 3)
        stacked = stack_kept([unpack(packed[i]) for i in (2, 0)], CPU)
        assert len(stacked) == 2
        assert stacked.scores.dtype == torch.float32
        for maps, fresh in zip(stacked.features, encoded.features, strict=True):
            assert torch.equal(maps.levels, quantise(fresh).levels[[2, 0]])
            assert torch.equal(maps.scale, quantise(fresh).scale[[2, 0]])


class TestAveraged:
    """Maps finer than the evidence, kept on its grid."""

    def test_kept_coarse_is_averaged_and_then_made_bytes(self, encoded):
        packed = pack(encoded, [DIGEST] * 3, coarse=True)
        stride = encoded.evidence.stride
        for row, data in enumerate(packed):
            for kept, fresh in zip(
                unpack(data).layers, encoded[row : row + 1].features, strict=True
            ):
                assert kept.stride == stride
                expected = fresh.averaged(stride)
                assert kept.averaged_from == expected.averaged_from
                assert torch.equal(kept.levels, quantise(expected).levels)

    def test_averaged_after_keeping_is_nearly_the_same(self, encoded):
        coarse = unpack(pack(encoded[:1], [DIGEST], coarse=True)[0])
        later = unpack(pack(encoded[:1], [DIGEST])[0]).averaged()
        assert coarse.shape == later.shape
        for one, other in zip(coarse.layers, later.layers, strict=True):
            assert one.averaged_from == other.averaged_from
            # A level of the fine maps, and one of the coarse.
            assert (one.values() - other.values()).abs().max() <= 2 * one.scale.max()
        assert later.averaged() is later

    def test_files_from_before_there_was_averaging_are_read(self, block):
        about, tensors = opened(block)
        assert set(about.pop("averaged_from")) == {None}
        assert_same_maps(unpack(block), unpack(closed(about, tensors)))


class TestSweeping:
    def test_what_a_killed_writer_left_long_ago_goes_and_nothing_else(self, tmp_path, block):
        stores = [FeatureStore(str(tmp_path), one) for one in (FINGERPRINT, OTHER)]
        places = []
        for store in stores:
            store.put({"a": block})
            places.append(tmp_path / f"{store.path_of('a')}.0123.part")
        young = places[0].with_suffix(".young.part")
        for place in (*places, young):
            place.write_bytes(b"half")
        long_ago = time.time() - 25 * 3600
        for place in (*places, stores[0].path_of("a")):
            os.utime(place, (long_ago, long_ago))
        assert stores[0].sweep() == 1
        assert [place.exists() for place in (*places, young)] == [False, True, True]
        assert stores[0].has("a")
        assert stores[0].sweep(older_s=-1) == 1  # the young one
        for store in stores:
            store.close()


class TestDamage:
    def test_what_never_were_maps(self, block):
        # Among them a frame that says it holds 2^60 bytes, and a file with something behind it.
        huge = b"\x28\xb5\x2f\xfd\xe0" + (1 << 60).to_bytes(8, "little") + block[9:]
        for data in [b"", b"no maps at all", b"\x28\xb5\x2f\xfd", huge, block + b"\0"]:
            with pytest.raises(FeatureStoreError, match="index the image again"):
                unpack(data)

    def test_every_shortened_file(self, block):
        # Also what lacks a part of the checksum alone, which is the last four bytes.
        some = range(0, len(block) - 4, max(1, len(block) // 150))
        for length in [*some, *range(len(block) - 8, len(block))]:
            with pytest.raises(FeatureStoreError):
                unpack(block[:length])

    def test_blocks_of_one_repeated_byte(self, encoded):
        """As zstd writes maps that are 0 over long stretches."""
        empty = replace(encoded[:1].features[0], levels=torch.zeros(1, 8, 400, 500))
        maps = replace(encoded[:1], features=(empty,))
        block = pack(maps, [DIGEST])[0]
        assert len(block) < 10_000
        assert unpack(block).layers[0].levels.shape == (1, 8, 400, 500)
        with pytest.raises(FeatureStoreError):
            unpack(block[:-1])

    def test_every_flipped_bit_is_noticed_or_harmless(self, block):
        whole = unpack(block)
        draw = random.Random(5)
        # All of the frame's header, where sizes and flags stand, and drawn ones of the rest.
        places = [*range(8 * 18), *(draw.randrange(8 * len(block)) for _ in range(200))]
        for place in places:
            data = bytearray(block)
            data[place // 8] ^= 1 << place % 8
            try:
                found = unpack(bytes(data))
            except FeatureStoreError:
                continue
            assert_same_maps(whole, found)

    def test_a_whole_file_of_another_version(self, block):
        about, tensors = opened(block)
        for key in ["digest", "features", "evidence", "working", "strides"]:
            with pytest.raises(FeatureStoreError):
                unpack(closed({k: v for k, v in about.items() if k != key}, tensors))
        for said in [{"strides": 4}, {"strides": [4, 8, 16]}, {"working": [64]}]:
            with pytest.raises(FeatureStoreError):
                unpack(closed(about | said, tensors))
        for missing in ["0.levels", "1.scale", "scores"]:
            with pytest.raises(FeatureStoreError):
                unpack(closed(about, {k: v for k, v in tensors.items() if k != missing}))


def opened(block):
    """The two parts of a packed image."""
    data = zstandard.ZstdDecompressor().decompress(block)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["camsearch"]), load(data)


def closed(about, tensors):
    """The parts packed again."""
    return zstandard.ZstdCompressor().compress(save(tensors, {"camsearch": json.dumps(about)}))


class TestStore:
    def test_an_empty_store_has_nothing(self, store):
        assert store.get({}) == {}
        assert store.get({"a": DIGEST}) == {}
        assert not store.has("a")
        store.delete(["a"])
        store.put({})
        assert store.sweep() == 0

    def test_what_is_put_is_got(self, store, encoded):
        packed = pack(encoded, [DIGEST] * 3)
        store.put(dict(zip("abc", packed, strict=True)))
        found = store.get(dict.fromkeys("cxab", DIGEST))
        assert list(found) == ["c", "a", "b"]
        for image_id, data in zip("abc", packed, strict=True):
            assert store.has(image_id)
            assert_same_maps(unpack(data), found[image_id])

    def test_deleted_maps_are_gone_and_the_others_stay(self, store, block):
        store.put({"a": block, "b": block})
        store.delete(["a", "unknown", "a"])
        assert not store.has("a")
        assert list(store.get({"a": DIGEST, "b": DIGEST})) == ["b"]

    def test_another_method_has_maps_of_its_own(self, new_store, encoded):
        here, there = new_store(), new_store(OTHER)
        ours, theirs = pack(encoded[:2], [DIGEST] * 2)
        here.put({"a": ours})
        assert not there.has("a")
        assert there.get({"a": DIGEST}) == {}
        there.put({"a": theirs})
        there.delete(["b"])
        assert_same_maps(unpack(ours), here.get({"a": DIGEST})["a"])
        there.delete(["a"])
        assert here.has("a")

    def test_ids_of_every_kind(self, store, encoded):
        packed = pack(encoded[:1], [DIGEST])
        store.put(dict.fromkeys(ODD_IDS, packed[0]))
        assert list(store.get(dict.fromkeys(ODD_IDS, DIGEST))) == ODD_IDS
        store.delete(ODD_IDS[1:])
        assert [i for i in ODD_IDS if store.has(i)] == ODD_IDS[:1]

    def test_damaged_maps_are_left_out_and_the_others_come(self, store, block):
        flipped = block[:100] + bytes([block[100] ^ 1]) + block[101:]
        for damage in (b"", b"garbage", block[: len(block) // 2], flipped):
            store.put({"damaged": damage, "whole": block})
            assert list(store.get({"damaged": DIGEST, "whole": DIGEST})) == ["whole"]

    def test_many_threads_at_once(self, store, encoded):
        packed = pack(encoded, [DIGEST] * 3)
        ids = [f"{i}" for i in range(24)]

        def work(part):
            for image_id in ids[part::4]:
                store.put({image_id: packed[int(image_id) % 3]})
                store.get(dict.fromkeys(ids, DIGEST))

        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.get(dict.fromkeys(ids, DIGEST))
        assert list(found) == ids
        for image_id, maps in found.items():
            assert_same_maps(unpack(packed[int(image_id) % 3]), maps)


class TestPlaces:
    def test_a_scheme_that_nobody_knows(self):
        with pytest.raises(FeatureStoreError, match=r"nosuch://there.*install the package"):
            FeatureStore("nosuch://there", FINGERPRINT)

    def test_a_place_below_a_file(self, tmp_path, block):
        (tmp_path / "file").write_text("I am no folder")
        store = FeatureStore(str(tmp_path / "file" / "maps"), FINGERPRINT)
        with pytest.raises(FeatureStoreError, match=r"cannot be written to .*free space"):
            store.put({"a": block})
        assert store.get({"a": DIGEST}) == {}
        assert not store.has("a")
        store.delete(["a"])
        store.close()

    def test_a_folder_of_any_name(self, tmp_path, block):
        for name in ["a::b", "with space", "#?*[x]", "写真", "a%20b", "~"]:
            store = FeatureStore(str(tmp_path / name), FINGERPRINT)
            store.put({"a": block})
            assert list(store.get({"a": DIGEST})) == ["a"]
            assert len(list((tmp_path / name).rglob("*.maps"))) == 1
            store.close()

    def test_maps_of_a_relative_folder_may_be_read_by_whom_the_umask_lets(
        self, tmp_path, block, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        store = FeatureStore("maps", FINGERPRINT)
        monkeypatch.chdir("/")
        before = os.umask(0o022)
        try:
            store.put({"a": block})
        finally:
            os.umask(before)
        (maps,) = tmp_path.rglob("*.maps")
        assert maps.stat().st_mode & 0o777 == 0o644
        store.close()

    def test_nothing_but_maps_is_left_behind(self, tmp_path, block, monkeypatch):
        # Half-written files belong beside their place: elsewhere the last step would be a copy.
        elsewhere = tmp_path / "tmp"
        elsewhere.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
        store = FeatureStore(str(tmp_path / "maps"), FINGERPRINT)
        store.put({"a": block})
        (maps,) = (p for p in (tmp_path / "maps").rglob("*") if p.is_file())
        maps.unlink()
        maps.mkdir()
        for act in (lambda: store.put({"a": block}), lambda: store.delete(["a"])):
            with pytest.raises(FeatureStoreError):
                act()
        assert store.get({"a": DIGEST}) == {}
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
        store.close()

    def test_a_writer_killed_at_any_moment_leaves_whole_files(self, tmp_path, block):
        (tmp_path / "block").write_bytes(block)
        command = [sys.executable, "-c", WRITER, str(tmp_path), FINGERPRINT]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "begun\n"
            while len(list((tmp_path / "maps").rglob("*.maps"))) < 30:
                assert writer.poll() is None
            writer.kill()
        written = list((tmp_path / "maps").rglob("*.maps"))
        assert {path.read_bytes() for path in written} == {block}


WRITER = """
import itertools, pathlib, sys
from galleries.features import FeatureStore

folder = pathlib.Path(sys.argv[1])
store = FeatureStore(str(folder / "maps"), sys.argv[2])
block = (folder / "block").read_bytes()
print("begun", flush=True)
for number in itertools.count():
    store.put({f"{number}": block})
"""
