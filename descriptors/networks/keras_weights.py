"""Convert the authors' weights of VGG-16-CAM from Keras 1 HDF5 to a state dict of our module.

Keras differs from torch in two independent ways. *Order*: kernels are (out, in, rows, columns)
in Theano's order and (rows, columns, in, out) in TensorFlow's. *Flipping*: Theano convolves,
which rotates each kernel by 180 degrees; TensorFlow and torch correlate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["ConvertedWeights", "KernelOrder", "convert_vgg16_cam", "torch_kernel"]

KernelOrder = Literal["theano", "tensorflow"]

_KERNEL, _MATRIX = 4, 2  # axes

# Other names of our convolutions, in the published code and in Keras's VGG-16.
_ALIASES = {"relu5_1": "conv5_1", "relu5_3": "conv5_3", "CAM_relu": "cam", "cam_relu": "cam"}
_ALIASES |= {f"block{s}_conv{i}": f"conv{s}_{i}" for s in range(1, 6) for i in range(1, 4)}


class _KerasLayer(NamedTuple):
    """A layer of the file with a kernel or matrix, and a bias or None."""

    name: str
    weight: Float[np.ndarray, "..."]
    bias: Float[np.ndarray, " O"] | None


@dataclass(frozen=True)
class ConvertedWeights:
    """A state dict, and how the file was read.

    Attributes:
        state: for the module.
        order: of the file's kernels.
        flipped: whether they were rotated by 180 degrees.
    """

    state: dict[str, Tensor]
    order: KernelOrder
    flipped: bool


def torch_kernel(
    kernel: Float[np.ndarray, "_ _ _ _"], order: KernelOrder, *, flip: bool
) -> Float[Tensor, "O I R S"]:
    """A Keras kernel in torch's order.

    Args:
        kernel: (out, in, rows, columns) in Theano's order, (rows, columns, in, out) in
            TensorFlow's.
        order: which of the two.
        flip: reverse rows and columns, for kernels of a true convolution.
    """
    if order == "tensorflow":
        kernel = kernel.transpose(3, 2, 0, 1)
    if flip:
        kernel = kernel[:, :, ::-1, ::-1]
    return torch.from_numpy(np.ascontiguousarray(kernel, dtype=np.float32))


def convert_vgg16_cam(
    path: Path, module: nn.Module, order: KernelOrder | None = None, *, flip: bool | None = None
) -> ConvertedWeights:
    """The weights of a Keras file for VGG-16-CAM.

    Args:
        path: HDF5 from ``save_weights``, or of the whole model.
        module: from `build_vgg16_cam`; every shape is compared with it.
        order: None to infer it from the shapes of the kernels.
        flip: None to infer it from the file's backend, or else from the order: flipped in
            Theano's, not in TensorFlow's.

    Raises:
        ArtifactError: h5py is missing, or the file does not contain VGG-16-CAM.
    """
    layers, backend = _read(path)
    convolutions, dense = _sorted_out(layers, path)
    expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    names = [k.removesuffix(".weight") for k, shape in expected.items() if len(shape) == _KERNEL]
    found = _by_name(convolutions, names, path)
    order = order or _order_of(found, expected, path)
    if flip is None:
        flip = order == "theano" if backend is None else backend == "theano"
    state = _state_of_dense(dense, expected["dense.bias"])
    for name, layer in found.items():
        state[f"{name}.weight"] = torch_kernel(layer.weight, order, flip=flip)
        bias = np.zeros(expected[f"{name}.bias"]) if layer.bias is None else layer.bias
        state[f"{name}.bias"] = torch.from_numpy(bias.astype(np.float32))
    _check_shapes(state, expected, path)
    return ConvertedWeights(state, order, flip)


def _state_of_dense(dense: _KerasLayer, classes: tuple[int, ...]) -> dict[str, Tensor]:
    """Keras has one row per input, torch one per class; a missing bias becomes 0."""
    bias = np.zeros(classes) if dense.bias is None else dense.bias
    weight = np.ascontiguousarray(dense.weight.T, dtype=np.float32)
    return {
        "dense.weight": torch.from_numpy(weight),
        "dense.bias": torch.from_numpy(bias.astype(np.float32)),
    }


def _read(path: Path) -> tuple[list[_KerasLayer], str | None]:
    """The file's layers with weights in order, and its backend if known."""
    try:
        import h5py
    except ImportError as error:
        raise ArtifactError(
            "Keras files are read with h5py: run `pip install camsearch[evaluate]`."
        ) from error
    if not path.is_file():
        raise ArtifactError(f"There is no weight file {path}: check its path.")
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            backend = root.attrs.get("backend", file.attrs.get("backend"))
            return list(_layers(root)), None if backend is None else _text(backend)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} cannot be read as Keras weights ({str(error).strip(chr(39))}): give an HDF5 "
            "file of `save_weights`, or download it again if it is damaged."
        ) from error


def _layers(root: Any) -> Iterable[_KerasLayer]:
    """Layers by ``layer_names``, or by number in the oldest files."""
    if "layer_names" in root.attrs:
        names = [_text(name) for name in root.attrs["layer_names"]]
    elif "nb_layers" in root.attrs:
        names = [f"layer_{i}" for i in range(root.attrs["nb_layers"])]
    else:
        raise ValueError("it has no attribute layer_names")
    for name in names:
        arrays = [np.asarray(array) for array in _arrays(root[name])]
        weights = [array for array in arrays if array.ndim > 1]
        if len(weights) == 1:
            biases = [array for array in arrays if array.ndim == 1]
            yield _KerasLayer(name, weights[0], biases[0] if biases else None)
        elif arrays:
            raise ValueError(f"its layer {name} is neither a convolution nor a dense layer")


def _arrays(group: Any) -> list[Any]:
    if "weight_names" in group.attrs:
        return [group[_text(name)] for name in group.attrs["weight_names"]]
    return [group[f"param_{i}"] for i in range(group.attrs.get("nb_params", 0))]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _sorted_out(layers: Sequence[_KerasLayer], path: Path) -> tuple[list[_KerasLayer], _KerasLayer]:
    """The convolutions, and the one dense layer."""
    convolutions = [layer for layer in layers if layer.weight.ndim == _KERNEL]
    dense = [layer for layer in layers if layer.weight.ndim == _MATRIX]
    if len(dense) != 1:
        told = ", ".join(layer.name for layer in dense) or "none"
        raise ArtifactError(
            f"{path} has {len(dense)} dense layers ({told}), where VGG-16-CAM has one after its "
            "pooling: hidden layers leave no class activation maps, so give a file of VGG-16-CAM."
        )
    for layer in layers:
        arrays = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        if not all(np.isfinite(array).all() for array in arrays):
            raise ArtifactError(
                f"The layer {layer.name} of {path} has values that are not finite: download it "
                "again."
            )
    return convolutions, dense[0]


def _by_name(
    layers: Sequence[_KerasLayer], wanted: Sequence[str], path: Path
) -> dict[str, _KerasLayer]:
    """The file's convolutions by our names; matched by position if Keras numbered them."""
    known = {_ALIASES.get(layer.name, layer.name): layer for layer in layers}
    missing = [name for name in wanted if name not in known]
    if not missing:
        return {name: known[name] for name in wanted}
    if wanted[0] in known:
        theirs = "CAM_relu" if missing[0] == "cam" else missing[0]
        raise ArtifactError(
            f"{path} has no layer {theirs}; it has {', '.join(layer.name for layer in layers)}"
            ": give a file of VGG-16-CAM."
        )
    if len(layers) != len(wanted):
        raise ArtifactError(
            f"{path} has {len(layers)} convolutions, where VGG-16-CAM has {len(wanted)}: "
            "give a file of VGG-16-CAM."
        )
    return dict(zip(wanted, layers, strict=True))


def _order_of(
    found: dict[str, _KerasLayer], expected: dict[str, tuple[int, ...]], path: Path
) -> KernelOrder:
    """The order in which all kernels have the expected shapes.

    Raises:
        ArtifactError: neither order fits, or both do, as with as many channels as rows.
    """
    orders: list[KernelOrder] = list(get_args(KernelOrder))
    for name, layer in found.items():
        should = expected[f"{name}.weight"]
        fits = [o for o in orders if torch_kernel(layer.weight, o, flip=False).shape == should]
        if not fits:
            raise ArtifactError(
                f"The kernel of {layer.name} in {path} has the shape {layer.weight.shape}, which "
                f"is {should} in no order of Keras: give a file of VGG-16-CAM."
            )
        orders = [order for order in orders if order in fits]
    if len(orders) != 1:
        raise ArtifactError(f"The order of the kernels in {path} is ambiguous: give --order.")
    return orders[0]


def _check_shapes(
    state: dict[str, Tensor], expected: dict[str, tuple[int, ...]], path: Path
) -> None:
    for key, should in expected.items():
        shape = tuple(state[key].shape)
        if shape != should:
            raise ArtifactError(
                f"{key} in {path} has the shape {shape}, not {should}: give a file of "
                "VGG-16-CAM with ImageNet's classes, or another --order."
            )
