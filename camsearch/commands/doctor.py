"""`camsearch doctor`: check the installation and suggest fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from camsearch.commands import options
from descriptors.errors import CamsearchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from descriptors.networks.network import Network
    from galleries.features import FeatureStore
    from galleries.local import LocalGallery

__all__ = ["EXAMPLE", "doctor"]

EXAMPLE = "Example: camsearch doctor --gallery my-gallery"


def doctor(
    gallery: options.GalleryFolder = None,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Check settings, device, weights, whitening and gallery, and suggest fixes."""
    folder = options.gallery_folder(gallery)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("settings", lambda: str(options.machine(device, precision))),
        ("device", lambda: _device(device, precision)),
        ("weights", _weights),
        ("networks", _networks),
        ("whitening", _whitening),
        ("gallery", lambda: _gallery(folder, device, precision)),
    ]
    console = Console(soft_wrap=True, highlight=False)
    failed = 0
    for name, check in checks:
        try:
            found = check()
        except CamsearchError as error:
            failed += 1
            console.print(f"[red]wrong[/]  {name}: ", end="")
            console.print(error.reason, markup=False)
        else:
            console.print(f"[green]ok[/]     {name}: ", end="")
            console.print(found, markup=False)
    if failed:
        raise typer.Exit(1)


def _device(device: str | None, precision: options.PrecisionOption) -> str:
    from descriptors.backbones import load_network
    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings

    machine = options.machine(device, precision)
    encoder = Encoder(
        load_network("efficientnet_lite0"), MethodSettings(), machine.device, machine.precision
    )
    kind = "bfloat16" if encoder.autocast else "float32"
    return f"{encoder.device} computes in {kind}"


def _weights() -> str:
    from descriptors.backbones import load_network

    return f"efficientnet_lite0, digest {load_network('efficientnet_lite0').weights_digest[:16]}"


def _networks() -> str:
    """One line per network: the source of its weights, and the file if it is there."""
    from camsearch.downloads import downloaded_path
    from descriptors.backbones import NETWORKS

    lines = []
    for name, network in NETWORKS.items():
        path = downloaded_path(network) or _installed(network)
        lines.append(f"{name}: {network.weights_from}" + (f" (is at {path})" if path else ""))
    lines.append("timm:NAME: --weights FILE (a state dict of timm) or --weights download")
    return "".join(f"\n         {line}" for line in lines)


def _installed(network: Network) -> Path | None:
    """The weight file of an installed package, or None."""
    from descriptors.errors import ArtifactError

    if network.packaged_weights is None:
        return None
    try:
        return network.packaged_weights()
    except ArtifactError:
        return None


def _whitening() -> str:
    from descriptors.whitening import Whitening, packaged_whitening

    whitening = Whitening.load(packaged_whitening("efficientnet_lite0"))
    return f"fitted on {whitening.fitted_on}, digest {whitening.digest()[:16]}"


def _gallery(folder: Path, device: str | None, precision: options.PrecisionOption) -> str:
    from camsearch.library import ImageLibrary

    if not folder.exists():
        return f"none at {folder} yet; make one with `camsearch index PATH --gallery {folder}`"
    with ImageLibrary.open(folder, options.machine(device, precision)) as library:
        images = library.gallery.count()
        rejects = sum(1 for _ in library.gallery.rejects())
        missing = _without_maps(library.gallery, library.features)
    told = f"{folder}, {images} images, {rejects} rejects, fingerprint matches"
    if missing:
        told += (
            f"; {missing} images have no stored maps, so re-ranking recomputes them: "
            "run `camsearch index` with --again"
        )
    return told


def _without_maps(gallery: LocalGallery, features: FeatureStore | None) -> int:
    if features is None:
        return 0
    return sum(not features.has(document.id) for document in gallery.documents())
