"""PCA-whitening: values by hand, the fit, and the files it is kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from descriptors.backbones import load_network, network_settings
from descriptors.errors import ArtifactError, RequestError
from descriptors.learned import LearnedClasses
from descriptors.whitening import (
    LayerWhitening,
    Whitening,
    fit_layer,
    packaged_whitening,
    stack_vectors,
)
from tests.support.checking import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYER = LayerWhitening(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([[2.0, 0, 0], [0, 0, 0.5]]))

SECOND = LayerWhitening(torch.tensor([0.5, 0.25]), torch.tensor([[1.0, 3.0]]))


def whitening(layers: tuple[LayerWhitening, ...] = (LAYER, SECOND)) -> Whitening:
    return Whitening(layers, "v" * 64, "w" * 64, "12 images of a test")


class TestLayerWhitening:
    def test_by_hand(self) -> None:
        """(2.5, 7, 6) - (1, 0, 2) = (1.5, 7, 4), projected (3, 2), unit."""
        expected = torch.tensor([[3.0, 2.0]]) / 13**0.5
        torch.testing.assert_close(LAYER(torch.tensor([[2.5, 7.0, 6.0]])), expected)

    def test_zero_rows_stay_zero(self) -> None:
        """Without activation there is nothing to compare, not even the mean."""
        rows = LAYER(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
        assert rows[0].tolist() == [0.0, 0.0]
        assert rows[1].norm().item() == pytest.approx(1)

    def test_small_axes_do_not_drown_in_rounding(self) -> None:
        """The mean is subtracted first: with a large projection, projecting both is worse."""
        random = np.random.default_rng(3)
        mean = random.random(64)
        mean /= np.linalg.norm(mean)
        projection = random.standard_normal((8, 64)) * 3e3
        vectors = mean + random.standard_normal((50, 64)) * 1e-4
        whiten = LayerWhitening(
            torch.from_numpy(mean.astype(np.float32)),
            torch.from_numpy(projection.astype(np.float32)),
        )
        exact = (vectors.astype(np.float32).astype(float) - whiten.mean.numpy()) @ projection.T
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
        got = whiten(torch.from_numpy(vectors.astype(np.float32))).numpy()
        assert (got * exact).sum(axis=1).min() > 0.999

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            LAYER(torch.rand(5, 4))


class TestFitLayer:
    def test_by_hand(self) -> None:
        """Points at distance 2 and 1 on two axes: variances 8/3 and 2/3 (n - 1 = 3)."""
        rows = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) + 5
        fitted = fit_layer(rows, 2)
        torch.testing.assert_close(fitted.mean, torch.tensor([5.0, 5.0]))
        expected = torch.tensor([[(3 / 8) ** 0.5, 0], [0, (3 / 2) ** 0.5]])
        torch.testing.assert_close(fitted.projection.abs(), expected)

    def test_an_axis_without_differences_is_not_blown_up(self) -> None:
        rows = np.zeros((10, 3))
        rows[:, 0] = np.arange(10)
        fitted = fit_layer(rows, 3)
        assert torch.isfinite(fitted.projection).all()

    @pytest.mark.parametrize(("rows", "channels", "dims"), [(4, 8, 4), (20, 3, 4), (0, 8, 1)])
    def test_too_few_rows_or_channels_are_refused(
        self, rows: int, channels: int, dims: int
    ) -> None:
        with pytest.raises(RequestError, match=f"cannot give {dims} dimensions"):
            fit_layer(np.ones((rows, channels), dtype=np.float32), dims)


class TestStackVectors:
    def test_leaves_zero_rows_out(self) -> None:
        stacked = stack_vectors(
            [torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0]])]
        )
        assert stacked.tolist() == [[1.0, 0.0], [0.0, 2.0]]


class TestDigest:
    def test_is_64_hex_digits_of_all_but_the_sentence(self) -> None:
        assert len(whitening().digest()) == 64
        assert int(whitening().digest(), 16)
        assert replace(whitening(), fitted_on="other words").digest() == whitening().digest()

    def test_changes_with_the_last_bit_of_any_number(self) -> None:
        for layer, part in ((0, "mean"), (1, "projection")):
            layers = [LAYER, SECOND]
            changed = getattr(layers[layer], part).clone()
            changed.view(-1)[0] = torch.nextafter(changed.view(-1)[0], torch.tensor(9.0))
            layers[layer] = replace(layers[layer], **{part: changed})
            assert whitening(tuple(layers)).digest() != whitening().digest()


DAMAGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:-5]),
    lambda path: path.write_bytes(b"\xff" * 64),  # a huge header
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: save_file({**load_file(path), "0.mean": torch.ones(3)}, path),
    lambda path: save_file({"0.mean": torch.ones(3)}, path),
]
DAMAGED_JSON = [b'{"layers": [', b"\xff\xfe\xfa", b"[]", b'{"layers": 2}']


class TestFiles:
    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        whitening().save(tmp_path / "whole.safetensors")
        about = json.loads((tmp_path / "whole.json").read_text())
        needed = ("layers", "vector_digest", "weights_digest", "fitted_on", "digest")
        lacking = [json.dumps({k: about[k] for k in about if k != key}).encode() for key in needed]
        texts = [
            lambda path, text=text: path.with_suffix(".json").write_bytes(text)
            for text in DAMAGED_JSON + lacking
        ]
        for number, damage in enumerate(DAMAGES + texts):
            path = tmp_path / f"{number}.safetensors"
            whitening().save(path)
            damage(path)
            with pytest.raises(ArtifactError, match="camsearch fit"):
                Whitening.load(path)

    def test_a_round_trip_keeps_everything(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "w.safetensors"
        whitening().save(path)
        loaded = Whitening.load(path)
        assert loaded.digest() == whitening().digest()
        assert loaded.vector_digest == "v" * 64
        assert loaded.weights_digest == "w" * 64
        assert loaded.fitted_on == "12 images of a test"
        assert torch.equal(loaded.layers[1].projection, SECOND.projection)

    def test_learned_classes_are_kept_and_count_in_the_digest(self, tmp_path: Path) -> None:
        classes = LearnedClasses(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.5, -1.0]))
        learned = replace(whitening(), classes=classes)
        learned.save(tmp_path / "w.safetensors")
        loaded = Whitening.load(tmp_path / "w.safetensors")
        assert loaded.classes is not None
        assert torch.equal(loaded.classes.weight, classes.weight)
        assert torch.equal(loaded.classes.bias, classes.bias)
        others = replace(learned, classes=replace(classes, bias=torch.tensor([0.5, -1.5])))
        assert len({one.digest() for one in (loaded, learned, others, whitening())}) == 3

    @pytest.mark.parametrize("missing", [".safetensors", ".json"])
    def test_a_missing_file_is_named(self, tmp_path: Path, missing: str) -> None:
        path = tmp_path / "w.safetensors"
        whitening().save(path)
        path.with_suffix(missing).unlink()
        with pytest.raises(ArtifactError, match=r"no whitening at .*w\.safetensors"):
            Whitening.load(path)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_packaged_one_is_that_of_the_default_preset(size: int) -> None:
    settings = network_settings(f"efficientnet_lite{size}", "default")
    packaged = Whitening.load(packaged_whitening(settings.network))
    assert packaged.vector_digest == settings.vector_digest()
    assert packaged.weights_digest == load_network(settings.network).weights_digest
    assert [layer.projection.shape[0] for layer in packaged.layers] == [256, 256]
    assert packaged.fitted_on.startswith("1663 ")
    for layer in packaged.layers:
        assert torch.isfinite(layer.projection).all()
        # Axes stand at right angles, each divided by its deviation, the longest first.
        lengths = layer.projection.norm(dim=1)
        cosines = (layer.projection @ layer.projection.T) / (lengths[:, None] * lengths)
        torch.testing.assert_close(cosines, torch.eye(256), rtol=0, atol=1e-3)
        assert (lengths.diff() > -1e-3 * lengths[:-1]).all()


def test_of_a_network_without_one_the_error_says_which_have_one() -> None:
    with pytest.raises(
        ArtifactError, match=r"for resnet50 \(.*efficientnet_lite0, .*_lite2\): fit one"
    ):
        packaged_whitening("resnet50")
