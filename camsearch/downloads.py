"""Weights that a user asks for by `--weights download`: torchvision's own, never by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from descriptors.networks.network import Network

__all__ = ["download_weights", "downloaded_path"]


def download_weights(name: str, network: Network) -> Path:
    """The file of torchvision's published weights; fetched if it is not in torch's cache yet.

    Args:
        name: of the network, for messages.
        network: its row.

    Raises:
        ArtifactError: for a network that torchvision does not publish, or without internet.
    """
    import torch

    if network.published is None:
        raise ArtifactError(
            f"There is no download of weights for {name}: they come from {network.weights_from}."
        )
    path, url = _place(network.published)
    try:
        # Its name ends in the first digits of its digest, which are compared.
        torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"The weights of {name} cannot be downloaded ({error}): get {url} on a machine with "
            "internet, and name the file with --weights."
        ) from error
    return path


def downloaded_path(network: Network) -> Path | None:
    """Where the weights lie if they were downloaded before, or None."""
    if network.published is None:
        return None
    path, _ = _place(network.published)
    return path if path.is_file() else None


def _place(published: str) -> tuple[Path, str]:
    """Where torch keeps the file, and where torchvision says it is."""
    import torch
    from torchvision.models import get_weight

    url: str = get_weight(published).url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name, url
