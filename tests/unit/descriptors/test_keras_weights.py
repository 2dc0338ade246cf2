"""Keras weights of VGG-16-CAM: proved against true convolutions of scipy, layer by layer."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from scipy.signal import convolve, correlate

from descriptors.errors import ArtifactError
from descriptors.networks.keras_weights import convert_vgg16_cam
from tests.support.random_networks import NARROW_VGG16_CAM
from tests.support.tolerances import SAME_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

CONVOLUTIONS = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"]
CONVOLUTIONS += ["conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "CAM_relu"]
# As the published code leaves it: Keras numbers what has no name.
NUMBERED = [f"convolution2d_{i}" for i in range(1, 11)]
NUMBERED += ["relu5_1", "convolution2d_11", "relu5_3", "CAM_relu"]
CHANNELS = [3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9]
CLASSES = 10
# Convolutions after which VGG-16 pools.
POOLED = {"conv1_2", "conv2_2", "conv3_3", "conv4_3"}

Layers = dict[str, list[np.ndarray]]


def drawn(order: str = "theano", seed: int = 0) -> Layers:
    """Kernels in Keras's order, with biases, and a dense layer without; all by our names."""
    random = np.random.default_rng(seed)
    layers = {}
    for name, (inputs, outputs) in zip(CONVOLUTIONS, pairwise(CHANNELS), strict=True):
        kernel = random.standard_normal((outputs, inputs, 3, 3)) / (inputs * 9 / 2) ** 0.5
        if order == "tensorflow":
            kernel = kernel.transpose(2, 3, 1, 0)
        bias = random.standard_normal(outputs) * 0.1
        layers[name] = [kernel.astype(np.float32), bias.astype(np.float32)]
    dense = random.standard_normal((CHANNELS[-1], CLASSES)).astype(np.float32)
    layers["dense_1"] = [dense]
    return layers


def keras_file(
    path: Path,
    layers: Layers,
    *,
    suffixes: tuple[str, str] = ("_W", "_b"),
    whole_model: bool = False,
    attributes: dict[str, Any] | None = None,
) -> Path:
    """What Keras 1 writes: a group a layer, also of those without weights, and their names."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        names = [layer for name in layers for layer in (f"padding_of_{name}", name)]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            arrays = layers.get(name, [])
            group = root.create_group(name)
            keys = [f"{name}{suffix}" for suffix, _ in zip(suffixes, arrays, strict=False)]
            group.attrs["weight_names"] = np.array([key.encode() for key in keys], dtype="S")
            for key, array in zip(keys, arrays, strict=True):
                group[key] = array
        for key, value in (attributes or {}).items():
            file.attrs[key] = value
    return path


def narrow() -> nn.Module:
    return NARROW_VGG16_CAM.build().eval()


def same_size(
    filtered: Callable[..., np.ndarray], maps: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """One layer by scipy: a border of zeros, every input filtered alone, summed, ReLU."""
    padded = np.pad(maps.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    summed = [
        sum(filtered(padded[i], k[i], mode="valid") for i in range(len(padded))) for k in kernel
    ]
    return np.maximum(np.stack(summed) + bias[:, None, None], 0)


def by_scipy(
    layers: Layers, image: np.ndarray, filtered: Callable[..., np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every activation of Keras's network by our module's names, and the class scores."""
    maps, seen = image, {}
    for name in CONVOLUTIONS:
        kernel, bias = layers[name]
        maps = same_size(filtered, maps, kernel, bias)
        seen["cam_relu" if name == "CAM_relu" else name.replace("conv", "relu")] = maps
        if name in POOLED:
            channels, height, width = maps.shape
            cells = maps[:, : height // 2 * 2, : width // 2 * 2]
            maps = cells.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return seen, maps.mean(axis=(1, 2)) @ layers["dense_1"][0]


def check_network(state: dict[str, torch.Tensor], layers: Layers, filtered: Any) -> None:
    """Each activation of the converted network is Keras's own."""
    module = narrow()
    module.load_state_dict(state)
    image = np.random.default_rng(1).uniform(-1, 1, (3, 34, 48)).astype(np.float32)
    expected, scores = by_scipy(layers, image, filtered)
    maps = torch.from_numpy(image)[None]
    compared = 0
    with torch.inference_mode():
        for name, part in module.named_children():
            maps = part(maps)
            if name in expected:
                SAME_NUMBERS.check(torch.from_numpy(expected[name])[None].float(), maps)
                assert maps.max() > 0
                compared += 1
    assert compared == len(CONVOLUTIONS)
    SAME_NUMBERS.check(torch.from_numpy(scores)[None].float(), maps)


class TestConvertedNetwork:
    @pytest.mark.parametrize(
        ("order", "backend", "flip", "filtered"),
        [
            ("theano", None, None, convolve),
            ("tensorflow", None, None, correlate),
            ("theano", b"tensorflow", None, correlate),
            ("theano", b"theano", False, correlate),  # what is asked for wins
        ],
    )
    def test_computes_what_keras_did(
        self, tmp_path: Path, order: str, backend: bytes | None, flip: bool | None, filtered: Any
    ) -> None:
        attributes = {} if backend is None else {"backend": backend}
        path = keras_file(tmp_path / "w.h5", drawn(order), attributes=attributes)
        converted = convert_vgg16_cam(path, narrow(), flip=flip)
        assert (converted.order, converted.flipped) == (order, filtered is convolve)
        check_network(converted.state, drawn("theano"), filtered)

    def test_the_wrong_flip_would_show(self, tmp_path: Path) -> None:
        path = keras_file(tmp_path / "w.h5", drawn())
        converted = convert_vgg16_cam(path, narrow(), flip=False)
        with pytest.raises(AssertionError):
            check_network(converted.state, drawn(), convolve)


class TestFiles:
    """The same weights however Keras wrote them."""

    @pytest.fixture
    def state(self, tmp_path: Path) -> dict[str, torch.Tensor]:
        return convert_vgg16_cam(keras_file(tmp_path / "0.h5", drawn()), narrow()).state

    def same(self, state: dict[str, torch.Tensor], path: Path) -> bool:
        other = convert_vgg16_cam(path, narrow()).state
        return other.keys() == state.keys() and all(
            torch.equal(state[key], other[key]) for key in state
        )

    @pytest.mark.parametrize(
        ("layers", "options"),
        [
            pytest.param(drawn(), {"whole_model": True}, id="a-whole-model"),
            pytest.param(
                dict(zip([*NUMBERED, "dense_7"], drawn().values(), strict=True)), {}, id="numbered"
            ),
            pytest.param(dict(reversed(drawn().items())), {}, id="in-another-order"),
            pytest.param(drawn(), {"suffixes": ("/kernel:0", "/bias:0")}, id="names-of-keras-2"),
        ],
    )
    def test_other_forms(
        self, state: dict[str, torch.Tensor], tmp_path: Path, layers: Layers, options: Any
    ) -> None:
        assert self.same(state, keras_file(tmp_path / "w.h5", layers, **options))

    def test_the_oldest_form_numbers_all(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        with h5py.File(tmp_path / "w.h5", "w") as file:
            layers = [layer for arrays in drawn().values() for layer in ([], arrays)]
            file.attrs["nb_layers"] = len(layers)
            for i, arrays in enumerate(layers):
                group = file.create_group(f"layer_{i}")
                group.attrs["nb_params"] = len(arrays)
                for j, array in enumerate(arrays):
                    group[f"param_{j}"] = array
        assert self.same(state, tmp_path / "w.h5")

    def test_a_dense_layer_with_a_bias(self, tmp_path: Path) -> None:
        layers = drawn()
        layers["dense_1"].append(np.arange(CLASSES, dtype=np.float32))
        state = convert_vgg16_cam(keras_file(tmp_path / "w.h5", layers), narrow()).state
        assert state["dense.bias"].tolist() == list(range(CLASSES))

    def test_a_dense_layer_without_has_0(self, state: dict[str, torch.Tensor]) -> None:
        assert state["dense.bias"].tolist() == [0] * CLASSES
        assert all(value.dtype == torch.float32 for value in state.values())


class TestRefusals:
    def refused(self, path: Path, why: str, **options: Any) -> None:
        with pytest.raises(ArtifactError, match=why):
            convert_vgg16_cam(path, narrow(), **options)

    def test_without_h5py(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "h5py", None)
        self.refused(tmp_path / "w.h5", r"pip install camsearch\[evaluate\]")

    def test_no_file(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "gone.h5", "no weight file .*gone.h5: check its path")

    def test_no_hdf5(self, tmp_path: Path) -> None:
        whole = keras_file(tmp_path / "w.h5", drawn()).read_bytes()
        for content in (b"", b"hello", b"\x89HDF\r\n\x1a\n\0\0", whole[:-5000]):
            (tmp_path / "w.h5").write_bytes(content)
            self.refused(tmp_path / "w.h5", "cannot be read as Keras weights")

    def test_hdf5_of_something_else(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["data"] = [1, 2]
        self.refused(tmp_path / "w.h5", "no attribute layer_names")

    def test_a_group_that_is_not_there(self, tmp_path: Path) -> None:
        path = keras_file(tmp_path / "w.h5", drawn())
        with h5py.File(path, "a") as file:
            del file["conv3_1"]["conv3_1_W"]
        self.refused(path, "cannot be read as Keras weights")

    def test_layers_that_are_none_of_vgg16_cam(self, tmp_path: Path) -> None:
        for name, change, why in (
            ("conv4_2", lambda layers: layers.pop("conv4_2"), "no layer conv4_2; it has conv1_1, "),
            ("cam", lambda layers: layers.pop("CAM_relu"), "no layer CAM_relu; it has conv1_1, "),
            (
                "hidden",
                lambda layers: layers.update(predictions=[np.zeros((CLASSES, CLASSES), "f4")]),
                r"2 dense layers \(dense_1, predictions\)",
            ),
            ("dense", lambda layers: layers.pop("dense_1"), r"0 dense layers \(none\)"),
            (
                "norm",
                lambda layers: layers.update(norm=[np.ones(8, np.float32)] * 2),
                "norm is neither a convolution",
            ),
            (
                "kernel",
                lambda layers: layers["conv2_1"].__setitem__(0, layers["conv2_1"][0][:, :, :1, :1]),
                r"kernel of conv2_1 .*\(5, 4, 1, 1\).*no order",
            ),
            (
                "bias",
                lambda layers: layers["conv2_1"].__setitem__(1, np.zeros(3, np.float32)),
                r"conv2_1.bias .*\(3,\), not \(5,\)",
            ),
            (
                "flattened",
                lambda layers: layers.update(dense_1=[np.zeros((9 * 4, CLASSES), np.float32)]),
                r"dense.weight .*\(10, 36\), not",
            ),
            (
                "nan",
                lambda layers: layers["conv5_2"][0].__setitem__((0, 0, 0, 0), np.nan),
                "layer conv5_2 .* not finite",
            ),
        ):
            layers = drawn()
            change(layers)
            self.refused(keras_file(tmp_path / f"{name}.h5", layers), why)

    def test_too_many_numbered_layers(self, tmp_path: Path) -> None:
        layers = dict(zip([*NUMBERED, "dense_1"], drawn().values(), strict=True))
        layers["more"] = layers["relu5_3"]
        self.refused(keras_file(tmp_path / "w.h5", layers), "15 convolutions, where .* has 14")

    def test_the_wrong_order(self, tmp_path: Path) -> None:
        path = keras_file(tmp_path / "w.h5", drawn())
        self.refused(path, r"conv1_1.weight .* or another --order", order="tensorflow")

    def test_an_order_that_cannot_be_seen(self, tmp_path: Path) -> None:
        """All kernels 3 x 3 x 3 x 3."""
        from descriptors.networks.vgg16_cam import build_vgg16_cam

        cube = [np.zeros((3, 3, 3, 3), np.float32), np.zeros(3, np.float32)]
        layers = dict.fromkeys(CONVOLUTIONS, cube) | {"dense_1": [np.zeros((3, 2), np.float32)]}
        path = keras_file(tmp_path / "w.h5", layers)
        module = build_vgg16_cam((3, 3, 3, 3, 3), 3, 2)
        with pytest.raises(ArtifactError, match="is ambiguous: give --order"):
            convert_vgg16_cam(path, module)
        assert convert_vgg16_cam(path, module, "tensorflow").order == "tensorflow"
