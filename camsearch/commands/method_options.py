"""The options that choose a method, declared once for all commands that have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from descriptors.backbones import LoadedNetwork
    from descriptors.settings import MethodSettings

__all__ = ["ClassOptions", "MethodOptions", "NetworkName", "NetworkOptions", "Preset", "Weights"]
__all__ += ["WhiteningFile", "WindowCount", "method_settings", "weight_file", "window_count"]

Preset = Annotated[str, typer.Option(help="default, or paper (the published method).")]
NetworkName = Annotated[
    str | None,
    typer.Option(help="Another network: see docs/networks.md, or timm:NAME for a timm network."),
]
Layers = Annotated[
    str | None, typer.Option(help="Feature layers and dimensions: mid:256,last:256.")
]
Side = Annotated[int | None, typer.Option(help="Working size in pixels.")]
WindowCount = Annotated[
    Literal["none", "5", "14", "30", "66", "130"] | None,
    typer.Option(
        help="Windows of each image in the index, the whole image included: the more, the smaller "
        "the things that are found (default: 14, or none with the preset paper)."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Local weight file, for a network without packaged weights; 'download' fetches "
        "torchvision's."
    ),
]
WhiteningFile = Annotated[
    Path | None,
    typer.Option(help="A whitening made by `camsearch fit` (default: the network's packaged one)."),
]


@dataclass(frozen=True)
class NetworkOptions:
    """A network with its feature layers and working size."""

    preset: Preset = "default"
    network: NetworkName = None
    layers: Layers = None
    side: Side = None
    weights: Weights = None

    def settings(self, **changed: Any) -> MethodSettings:
        """The settings of the method; see `method_settings`."""
        return method_settings(self.preset, self.network, self.layers, side=self.side, **changed)

    def weight_file(self) -> Path | None:
        """The weight file, downloaded if needed."""
        return weight_file(self.weights, self.settings().network)


@dataclass(frozen=True)
class ClassOptions:
    """Where the classes come from."""

    classes_from: Annotated[
        Literal["labels", "learned"] | None,
        typer.Option(
            help="Classes of the network's own labels, or learned from the images (default: "
            "labels if the network has a linear layer for them)."
        ),
    ] = None
    learned: Annotated[
        int | None, typer.Option(min=2, help="Number of learned classes (default: 64).")
    ] = None

    def learned_count(self, loaded: LoadedNetwork) -> int:
        """The number of classes to learn; 0 for the network's own.

        Raises:
            RequestError: for labels that the network lacks, or a number of classes beside labels.
        """
        from descriptors.learned import DEFAULT_COUNT

        if self.classes_from == "labels":
            if self.learned is not None:
                raise RequestError("--learned has no effect with --classes-from labels: remove it.")
            if loaded.classifier is None:
                raise RequestError(
                    f"{loaded.name} has no class labels: use --classes-from learned."
                )
            return 0
        if self.classes_from == "learned" or self.learned is not None or loaded.classifier is None:
            return self.learned or DEFAULT_COUNT
        return 0


@dataclass(frozen=True)
class MethodOptions(NetworkOptions):
    """The method of a gallery."""

    whitening: WhiteningFile = None
    windows: WindowCount = None

    def settings(self, **changed: Any) -> MethodSettings:
        """The settings of the method; see `method_settings`."""
        return super().settings(**{"windows": window_count(self.windows), **changed})


def method_settings(
    preset: str,
    network: str | None = None,
    layers: str | None = None,
    theme: str | None = None,
    **changed: Any,
) -> MethodSettings:
    """The settings of a preset with the options of the command line applied.

    Args:
        preset: default or paper.
        network: another network, with its own layers and working size.
        layers: such as ``mid:256,last:256``; without numbers, 512 dimensions are divided evenly.
        theme: class names or numbers, separated by commas.
        changed: other fields; None keeps the preset's value.
    """
    from pydantic import ValidationError

    from descriptors.backbones import network_settings
    from descriptors.classes import class_numbers
    from descriptors.errors import SettingsError
    from descriptors.settings import MethodSettings

    settings = network_settings(network, preset) if network else MethodSettings.preset(preset)
    update = {k: v for k, v in changed.items() if v is not None}
    if layers is not None:
        update["layers"] = _layers(layers)
    if theme:
        update["theme"] = class_numbers([name.strip() for name in theme.split(",")])
    try:
        return MethodSettings.model_validate(settings.model_dump() | update)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "together"
        raise SettingsError(
            f"These settings are not valid ({name}: {first['msg']}): choose another value."
        ) from error


def window_count(given: WindowCount) -> int | None:
    """The number of windows; 0 for ``none``, None if not given."""
    if given is None:
        return None
    return 0 if given == "none" else int(given)


def weight_file(given: Path | None, network: str) -> Path | None:
    """The given weight file, or for ``download`` that of torchvision.

    Raises:
        ArtifactError: if it cannot be downloaded.
    """
    if given != Path("download"):
        return given
    from camsearch.downloads import download_weights
    from descriptors.backbones import find_network

    return download_weights(network, find_network(network))


def _layers(text: str) -> list[dict[str, Any]]:
    names = [part.partition(":") for part in text.split(",")]
    share = 512 // len(names)
    try:
        return [{"name": n.strip(), "dims": int(d) if d else share} for n, _, d in names]
    except ValueError as error:
        raise RequestError(
            f"--layers {text!r} is not valid: write names and dimensions as mid:256,last:256."
        ) from error
