"""PCA-whitening: fitted with scikit-learn, stored as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import region_class_vectors
from descriptors.cams import top_classes
from descriptors.errors import ArtifactError, RequestError
from descriptors.learned import LearnedClasses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder

__all__ = ["LayerWhitening", "Whitening", "WhiteningFit", "fit_layer", "packaged_whitening"]
__all__ += ["stack_vectors"]

# Tensors of a file that has learned classes.
_WEIGHT, _BIAS, _PATCHES = "classes.weight", "classes.bias", "classes.patches"


@dataclass(frozen=True)
class LayerWhitening:
    """The whitening of one layer's class vectors.

    Attributes:
        mean: subtracted first.
        projection: D principal axes, each divided by the square root of its eigenvalue.
    """

    mean: Float[Tensor, " K"]
    projection: Float[Tensor, "D K"]

    def __call__(
        self, vectors: Float[Tensor, "*B K"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*B D"]:
        """Whiten and normalise; zero rows stay zero.

        Args:
            vectors: unit or zero rows.
            dtype: of the product; bfloat16 is several times faster where it is native.

        Source:
            docs/method.md section 3.
        """
        # The mean is subtracted first: its projection is large, and bfloat16 would round it.
        centred = (vectors - self.mean).to(dtype)
        projection = self._projection_bfloat16 if dtype == torch.bfloat16 else self.projection
        whitened = functional.linear(centred, projection).float()
        alive = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True) > 0
        unit: Tensor = functional.normalize(whitened, dim=-1) * alive
        return unit

    @cached_property
    def _projection_bfloat16(self) -> Tensor:
        return self.projection.bfloat16()

    def to(self, device: torch.device) -> LayerWhitening:
        """A copy on another device."""
        return LayerWhitening(self.mean.to(device), self.projection.to(device))


def fit_layer(vectors: Float[np.ndarray, "V K"], dims: int) -> LayerWhitening:
    """Fit the whitening of one layer.

    Args:
        vectors: unit class vectors of a collection other than the one searched.
        dims: principal axes to keep.

    Raises:
        RequestError: there are fewer vectors or channels than dimensions.
    """
    from sklearn.decomposition import PCA

    if vectors.shape[0] <= dims or vectors.shape[1] < dims:
        raise RequestError(
            f"{vectors.shape[0]} vectors of {vectors.shape[1]} channels cannot give "
            f"{dims} dimensions: fit on more images or ask for fewer dimensions."
        )
    # In float64: along most axes the differences are below the precision of float32 sums.
    pca = PCA(n_components=dims, svd_solver="covariance_eigh").fit(vectors.astype(np.float64))
    # Bounded, so that axes without variance do not become noise.
    deviation = np.sqrt(np.maximum(pca.explained_variance_, pca.explained_variance_[0] * 1e-9))
    projection = pca.components_ / deviation[:, None]
    return LayerWhitening(
        torch.from_numpy(np.ascontiguousarray(pca.mean_, dtype=np.float32)),
        torch.from_numpy(np.ascontiguousarray(projection, dtype=np.float32)),
    )


@dataclass(frozen=True)
class Whitening:
    """The whitening of every layer, and what it was fitted on.

    Attributes:
        layers: in the order of the settings.
        vector_digest: `MethodSettings.vector_digest` of the settings it was fitted with.
        weights_digest: of the network's weights.
        fitted_on: description of the images, for display.
        classes: learned from the same images; None for the network's own.
    """

    layers: tuple[LayerWhitening, ...]
    vector_digest: str
    weights_digest: str
    fitted_on: str
    classes: LearnedClasses | None = None

    def digest(self) -> str:
        """SHA-256 of all numbers that change a vector, hexadecimal."""
        digest = hashlib.sha256()
        for tensor in self._tensors().values():
            digest.update(tensor.numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def _tensors(self) -> dict[str, Tensor]:
        """The numbers that change a vector, by their name in the file."""
        tensors: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            tensors |= {f"{i}.mean": layer.mean, f"{i}.projection": layer.projection}
        if self.classes is not None:
            tensors |= {_WEIGHT: self.classes.weight, _BIAS: self.classes.bias}
        return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}

    def save(self, path: Path) -> None:
        """Write ``path`` (safetensors) and beside it a file with the suffix ``.json``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = self._tensors()
        if self.classes is not None and self.classes.patches is not None:
            tensors[_PATCHES] = self.classes.patches
        save_file(tensors, path)
        path.with_suffix(".json").write_text(json.dumps(self._about(), indent=2) + "\n")

    def with_class_names(self, names: Sequence[str]) -> Whitening:
        """A copy whose learned classes have these names; its digest is the same.

        Args:
            names: one per class; "" keeps ``learned N``.

        Raises:
            RequestError: there are no learned classes, or not as many.
        """
        if self.classes is None:
            raise RequestError(
                "This whitening has no learned classes to name: learn some with --learned."
            )
        if len(names) != len(self.classes):
            raise RequestError(
                f"There are {len(names)} names for {len(self.classes)} learned classes: give one "
                "line per class, empty for a class without a name."
            )
        plain = replace(self.classes, names=()).shown_names
        chosen = tuple(name or own for name, own in zip(names, plain, strict=True))
        return replace(self, classes=replace(self.classes, names=chosen))

    def _about(self) -> dict[str, Any]:
        return {
            "format": 1,
            "layers": [list(layer.projection.shape) for layer in self.layers],
            "vector_digest": self.vector_digest,
            "weights_digest": self.weights_digest,
            "fitted_on": self.fitted_on,
            "digest": self.digest(),
        } | ({"class_names": list(self.classes.names)} if self.classes is not None else {})

    @classmethod
    def load(cls, path: Path) -> Whitening:
        """Read the files of `save`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        about_path = path.with_suffix(".json")
        try:
            about = json.loads(about_path.read_text())
            tensors = load_file(path)
            layers = tuple(
                LayerWhitening(tensors[f"{i}.mean"], tensors[f"{i}.projection"])
                for i in range(len(about["layers"]))
            )
            whitening = cls(
                layers,
                about["vector_digest"],
                about["weights_digest"],
                about["fitted_on"],
                _classes(tensors, about.get("class_names", ())),
            )
            expected = about["digest"]
        except FileNotFoundError as error:
            raise ArtifactError(
                f"There is no whitening at {path} (with {about_path.name} beside it): "
                "make one with `camsearch fit`."
            ) from error
        except (KeyError, ValueError, TypeError, OSError, SafetensorError) as error:
            raise ArtifactError(
                f"The whitening at {path} is damaged: make it again with `camsearch fit`."
            ) from error
        if whitening.digest() != expected:
            raise ArtifactError(
                f"The whitening at {path} is not the one that {about_path.name} describes: "
                "make it again with `camsearch fit`."
            )
        return whitening

    def to(self, device: torch.device) -> Whitening:
        """A copy on another device."""
        layers = tuple(layer.to(device) for layer in self.layers)
        return replace(self, layers=layers, classes=self.classes and self.classes.to(device))


def _classes(tensors: Mapping[str, Tensor], names: Sequence[str]) -> LearnedClasses | None:
    """The learned classes of a file, if it has any."""
    if _WEIGHT not in tensors:
        return None
    return LearnedClasses(tensors[_WEIGHT], tensors[_BIAS], tensors.get(_PATCHES), tuple(names))


def packaged_whitening(network: str) -> Path:
    """Path of the whitening of a network's default preset.

    Raises:
        ArtifactError: none is packaged for this network.
    """
    data = Path(str(files("descriptors") / "data"))
    packaged = {path.stem.removesuffix("-default"): path for path in data.glob("*.safetensors")}
    if network not in packaged:
        raise ArtifactError(
            f"No whitening is packaged for {network} (there is one for "
            f"{', '.join(sorted(packaged))}): fit one with `camsearch fit`."
        )
    return packaged[network]


def stack_vectors(vectors: Sequence[Float[Tensor, "_ K"]]) -> Float[np.ndarray, "V K"]:
    """All class vectors of a collection in one array, without zero rows."""
    rows = torch.cat([v[(v != 0).any(dim=1)].cpu() for v in vectors])
    return rows.numpy()


class WhiteningFit:
    """Collects the N_pca best class vectors of each image, then fits the whitening.

    Source:
        docs/method.md section 3.
    """

    def __init__(self, encoder: Encoder, classes: LearnedClasses | None = None) -> None:
        """Args: classes, if they were learned; the encoder has them."""
        self._encoder, self.classes = encoder, classes
        self._vectors: list[list[Float[Tensor, "V K"]]] = [[] for _ in encoder.settings.layers]
        self.images = 0

    @torch.inference_mode()
    def add(self, encoded: Encoded) -> None:
        """Add a batch of images."""
        classes = top_classes(encoded.scores, self._encoder.settings.n_pca)
        vectors = region_class_vectors(self._encoder, encoded, classes)
        for kept, layer in zip(self._vectors, vectors, strict=True):
            kept.append(layer[:, 0].flatten(0, 1).float().cpu())
        self.images += len(encoded)

    def fit(self, fitted_on: str) -> Whitening:
        """The whitening of the images that were added.

        Args:
            fitted_on: for display, such as "812 images of /photos".

        Raises:
            RequestError: there are too few images for the dimensions.
        """
        if not self.images:
            raise RequestError("No image could be read to fit the whitening on: give others.")
        settings = self._encoder.settings
        layers = tuple(
            fit_layer(stack_vectors(vectors), layer.dims)
            for vectors, layer in zip(self._vectors, settings.layers, strict=True)
        )
        weights_digest = self._encoder.loaded.weights_digest
        return Whitening(layers, settings.vector_digest(), weights_digest, fitted_on, self.classes)
