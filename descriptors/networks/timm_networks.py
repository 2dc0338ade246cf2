"""Any network of timm that ends in global average pooling and one linear layer, by name.

Each network is tested: it is built with random weights, such that no part of it is the identity,
and run on a small image. It is supported if its linear layer applied to the mean of its last
maps gives its output.
"""

from __future__ import annotations

from dataclasses import replace
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
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TIMM", "timm_network"]

TIMM = "timm:"

# Height and width of the test image, multiples of every stride.
_TRIED = (128, 192)

# Relative to the largest number; real mismatches are a hundred times larger.
_TOLERANCE = 1e-3


@cache
def timm_network(name: str) -> Network:
    """The table row of a network of timm.

    Args:
        name: timm's, with or without a pretrained tag.

    Raises:
        SettingsError: timm has no such network, or it is not supported, with the reason.
    """
    module = _build(name)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        _shake(module)
        image = torch.rand(1, 3, *_TRIED) * 2 - 1
        last, scores, seen = _run(name, module, image)
        network = _row(name, module, last, scores, seen)
        return replace(network, foldable=_is_foldable(module, network, image))


def _build(name: str) -> nn.Module:
    import timm

    known = timm.list_models()
    if name.partition(".")[0] not in known:
        near = get_close_matches(name, known, n=5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()."
        raise SettingsError(f"timm has no network {name!r}: {hint}")
    try:
        module: nn.Module = timm.create_model(name, pretrained=False)
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"timm cannot build {name!r} ({error}): give the name without the tag after the dot."
        ) from error
    return module.eval()


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


def _run(
    name: str, module: nn.Module, image: Tensor
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Last features, class scores, and the maps that each submodule returns."""
    try:
        features = module.forward_features(image)  # type: ignore[operator]
        scores, seen = _tapped(module, image)
    # Networks raise various errors for an image that is not of their fixed size.
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        size = f"{_TRIED[1]} x {_TRIED[0]} pixels"
        why = f"it does not accept an image of {size} ({told[0].rstrip('.')})"
        raise _refusal(name, why) from error
    if not isinstance(features, Tensor) or features.ndim != 4:  # noqa: PLR2004 - B K H W
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise _refusal(name, f"its last features are not maps but {shape}, such as tokens")
    return features, scores, seen


def _tapped(module: nn.Module, image: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:  # noqa: PLR2004 - B K H W
            seen[name] = output

    hooks = [
        part.register_forward_hook(partial(keep, name)) for name, part in module.named_modules()
    ]
    try:
        scores: Tensor = module(image)
    finally:
        for hook in hooks:
            hook.remove()
    return scores, seen


def _row(
    name: str, module: nn.Module, last: Tensor, scores: Tensor, seen: Mapping[str, Tensor]
) -> Network:
    """The table row of a network; raises SettingsError if it is not supported."""
    classifier = _classifier(name, module)
    _check_head(name, last, scores, module.get_submodule(classifier))
    tap, rectify = _tap(name, last, seen)
    evidence = FeatureLayer(tap, last.shape[1], _stride(name, last))
    about: dict[str, Any] = getattr(module, "pretrained_cfg", {})
    return Network(
        build=partial(_build, name),
        layers=_mid(module, seen, evidence.stride) | {"last": evidence},
        evidence=evidence,
        classifier=classifier,
        mean=tuple(about.get("mean", IMAGENET_MEAN)),
        std=tuple(about.get("std", IMAGENET_STD)),
        side=max(512, *(-(-side // 32) * 32 for side in about.get("input_size", (3, 0, 0))[1:])),
        weights_from="--weights FILE (a state dict of timm, such as its model.safetensors)",
        rectify=rectify,
    )


def _classifier(name: str, module: nn.Module) -> str:
    """The dotted name of the linear layer at the end."""
    head = module.get_classifier() if hasattr(module, "get_classifier") else None  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        kind = "nothing" if head is None else type(head).__name__
        raise _refusal(name, f"its classifier is {kind}, not one linear layer")
    dotted: str = next(key for key, part in module.named_modules() if part is head)
    return dotted


def _check_head(name: str, last: Tensor, scores: Tensor, head: nn.Module) -> None:
    """Refuse a network with more than a mean between its maps and its linear layer."""
    inputs = head.in_features
    if last.shape[1] != inputs:
        raise _refusal(
            name,
            f"its last maps have {last.shape[1]} channels and its linear layer {inputs} inputs: "
            "there is a hidden layer between, or the maps are channels-last",
        )
    if not _same(head(last.mean(dim=(2, 3))), scores):
        raise _refusal(
            name,
            "its linear layer applied to the mean of its last maps is not its class score: there "
            "is another pooling, a normalisation or a hidden layer between",
        )
    if last.min() < 0:
        raise _refusal(
            name,
            "its last maps have negative values (their activation is not of the ReLU family), and "
            "the method requires non-negative maps",
        )


def _tap(name: str, last: Tensor, seen: Mapping[str, Tensor]) -> tuple[str, bool]:
    """The outermost submodule that returns the last maps, and whether they need a ReLU."""
    for rectify in (False, True):
        fits = [
            key
            for key, maps in seen.items()
            if maps.shape == last.shape and _same(maps.relu() if rectify else maps, last)
        ]
        if fits:
            return min(fits, key=lambda key: key.count(".")), rectify
    raise _refusal(name, "no submodule of it returns the maps before its pooling")


def _stride(name: str, maps: Tensor) -> int:
    down, across = (side / cells for side, cells in zip(_TRIED, maps.shape[2:], strict=True))
    if down != across or not down.is_integer():
        raise _refusal(
            name,
            f"its last maps are {tuple(maps.shape[2:])} cells of an image of {_TRIED} pixels, "
            "which do not cover it evenly",
        )
    return int(down)


def _mid(module: nn.Module, seen: Mapping[str, Tensor], last: int) -> dict[str, FeatureLayer]:
    """The layer of half the stride, if timm knows one with non-negative maps."""
    stride = last // 2
    for about in getattr(module, "feature_info", ()):
        maps = seen.get(about.get("module", ""))
        if about.get("reduction") != stride or maps is None or maps.min() < 0:
            continue
        if tuple(maps.shape[2:]) == tuple(side // stride for side in _TRIED):
            return {"mid": FeatureLayer(about["module"], maps.shape[1], stride)}
    return {}


def _is_foldable(module: nn.Module, network: Network, image: Tensor) -> bool:
    """Whether folding normalisations changes no output; folds those of `module`."""
    scores, before = _tapped(module, image)
    try:
        fold_batch_norms(module)
        folded, after = _tapped(module, image)
    except (RuntimeError, ArtifactError):
        return False
    taps = [layer.module for layer in network.layers.values()]
    return _same(folded, scores) and all(_same(after[tap], before[tap]) for tap in taps)


def _same(some: Tensor, others: Tensor) -> bool:
    """Equal except for rounding, and finite."""
    if some.shape != others.shape:
        return False
    return bool((some - others).abs().max() <= _TOLERANCE * others.abs().max())


def _refusal(name: str, why: str) -> SettingsError:
    return SettingsError(
        f"{TIMM}{name} has no class activation maps, since {why}: choose a network that ends in "
        "convolution, ReLU, global average pooling and one linear layer, such as "
        f"{TIMM}resnet18."
    )
