"""Any network of timm by name, through timm's own interface for feature maps.

Each network is tested: it is built with random weights, such that no part of it is the identity,
and run on a small image. Its class labels are used if its linear layer applied to the mean of its
last maps gives its scores; otherwise its classes must be learned (`camsearch fit`).
"""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from descriptors.errors import ArtifactError, SettingsError
from descriptors.networks.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FeatureLayer,
    Network,
    fold_batch_norms,
    linear_layer,
)
from descriptors.networks.timm_maps import TimmMaps, from_timm_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["TIMM", "timm_network"]

TIMM = "timm:"

# Height and width of the test image, rounded down to the network's stride.
_TRIED = (128, 192)

# Relative to the largest number; real mismatches are a hundred times larger.
_TOLERANCE = 1e-3

# What networks raise for an image that is not of their fixed size.
_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, IndexError)

# How transformers of one image size are built for any: of patches, then of windows.
_ANY_SIZE: Sequence[Mapping[str, Any]] = ({"dynamic_img_size": True}, {"strict_img_size": False})

# Where `mid` is in a network whose layers all have one stride, as a share of its depth.
_DEPTH = 0.75


@cache
def timm_network(name: str) -> Network:
    """The table row of a network of timm.

    Args:
        name: timm's, with or without a pretrained tag.

    Raises:
        SettingsError: timm has no such network, or it cannot be used, with the reason.
    """
    network, options = _built(name)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        _shake(network)
        return _row(name, options, network)


def _built(name: str) -> tuple[nn.Module, Mapping[str, Any]]:
    """The module, for images of any size if it can be built so, and the options for that."""
    import timm

    known = timm.list_models()
    if name.partition(".")[0] not in known:
        near = get_close_matches(name, known, n=5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()."
        raise SettingsError(f"timm has no network {name!r}: {hint}")
    for options in _ANY_SIZE:
        with suppress(TypeError):  # the network has no such option
            return _create(name, options), options
    return _create(name, {}), {}


def _create(name: str, options: Mapping[str, Any]) -> nn.Module:
    import timm

    try:
        module: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"timm cannot build {name!r} ({error}): give the name without the tag after the dot."
        ) from error
    return module.eval()


def _build(
    name: str,
    options: Mapping[str, Any],
    layers: Mapping[str, int],
    signed: Collection[str],
    *,
    labelled: bool,
) -> nn.Module:
    return TimmMaps(_create(name, options), layers, signed, labelled=labelled)


def _shake(module: nn.Module) -> None:
    """Move parameters away from initial values of 0 or 1.

    Otherwise a normalisation after the pooling, or a classifier of 0, would not be noticed.
    """
    for parameter in module.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(std=0.02)
        elif parameter.ndim <= 1:
            parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    for key, buffer in module.named_buffers():
        if key.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 2)


def _row(name: str, options: Mapping[str, Any], network: nn.Module) -> Network:
    """The table row of a network with random weights; raises SettingsError if it has none."""
    strides = _strides(name, network)
    layers, multiple = _layers(strides), strides[-1]
    image = torch.rand(1, 3, *(side // multiple * multiple for side in _TRIED)) * 2 - 1
    maps, scores = _run(name, TimmMaps(network, layers), image)
    classifier = _classifier(network, maps["last"], scores)
    signed = [layer for layer, values in maps.items() if values.min() < 0]
    rows = {key: _feature_layer(name, key, maps[key], image, signed) for key in layers}
    labelled = classifier is not None
    # Networks that end in ReLU are convolutions, which take images of any size.
    multiple = 1 if labelled and "last" not in signed else multiple
    tried = TimmMaps(network, layers, signed, labelled=labelled)
    about: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    return Network(
        build=partial(_build, name, options, layers, signed, labelled=labelled),
        layers=rows,
        evidence=rows["last"],
        classifier=classifier,
        mean=tuple(about.get("mean", IMAGENET_MEAN)),
        std=tuple(about.get("std", IMAGENET_STD)),
        side=_side(about, multiple),
        side_multiple=multiple,
        weights_from="--weights FILE (a state dict of timm, such as its model.safetensors) or "
        "--weights download",
        rename=from_timm_file,
        foldable=_is_foldable(tried, image),
    )


def _strides(name: str, network: nn.Module) -> list[int]:
    """The stride of each layer that timm counts."""
    about = getattr(network, "feature_info", None)
    if not about or not hasattr(network, "forward_intermediates"):
        raise _refusal(name, "this version of timm gives no feature maps of it")
    return [layer["reduction"] for layer in about]


def _layers(strides: Sequence[int]) -> dict[str, int]:
    """Numbers of the layers: the last, and before it one of half its stride, if there is one.

    Where all strides are equal, as in a vision transformer, one at three quarters of the depth.
    """
    last = len(strides) - 1
    before = [i for i, stride in enumerate(strides) if 2 * stride == strides[-1]]
    if len(set(strides)) == 1 and last > 0:
        before = [round(_DEPTH * len(strides)) - 1]
    return ({"mid": before[-1]} if before else {}) | {"last": last}


def _run(name: str, module: TimmMaps, image: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """The maps of each layer, and class scores if the network's head takes the image."""
    try:
        maps, final = module.maps(image)
    except _ERRORS as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        size = f"{image.shape[3]} x {image.shape[2]} pixels"
        why = f"it does not accept an image of {size} ({told[0].rstrip('.')})"
        raise _refusal(name, why) from error
    try:
        return maps, module.network.forward_head(final)  # type: ignore[operator]
    except _ERRORS:
        return maps, None


def _classifier(network: nn.Module, last: Tensor, scores: Tensor | None) -> str | None:
    """The dotted name in `TimmMaps` of a linear layer that gives the scores from mean maps."""
    head = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    linear = linear_layer(head)
    if scores is None or linear is None or linear.in_features != last.shape[1]:
        return None
    if not _same(linear(last.mean(dim=(2, 3))), scores):
        return None
    return next(f"network.{key}" for key, part in network.named_modules() if part is head)


def _feature_layer(
    name: str, key: str, maps: Tensor, image: Tensor, signed: Collection[str]
) -> FeatureLayer:
    sides = image.shape[2:]
    down, across = (side / cells for side, cells in zip(sides, maps.shape[2:], strict=True))
    if down != across or not down.is_integer():
        raise _refusal(
            name,
            f"its maps are {tuple(maps.shape[2:])} cells of an image of {tuple(sides)} pixels, "
            "which do not cover it evenly",
        )
    return FeatureLayer(key, maps.shape[1] * (2 if key in signed else 1), int(down))


def _side(about: Mapping[str, Any], multiple: int) -> int:
    """512 pixels or the training size if that is larger, rounded up to whole cells."""
    step = 32 if 32 % multiple == 0 else multiple
    least: int = max(512, *about.get("input_size", (3, 0, 0))[1:])
    return -(-least // step) * step


def _is_foldable(module: TimmMaps, image: Tensor) -> bool:
    """Whether folding normalisations changes no map; folds those of `module`."""
    before, _ = module.maps(image)
    try:
        fold_batch_norms(module)
        after, _ = module.maps(image)
    except (RuntimeError, ArtifactError):
        return False
    return all(_same(after[layer], maps) for layer, maps in before.items())


def _same(some: Tensor, others: Tensor) -> bool:
    """Equal except for rounding, and finite."""
    if some.shape != others.shape:
        return False
    return bool((some - others).abs().max() <= _TOLERANCE * others.abs().max())


def _refusal(name: str, why: str) -> SettingsError:
    return SettingsError(
        f"{TIMM}{name} cannot be used, since {why}: choose another network of timm, such as "
        f"{TIMM}resnet18."
    )
