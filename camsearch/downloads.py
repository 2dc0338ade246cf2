"""Download torchvision's weights for `--weights download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from descriptors.networks.network import Network

__all__ = ["download_weights", "downloaded_path"]


def download_weights(name: str, network: Network) -> Path:
    """The file of torchvision's weights, downloaded to torch's cache if it is not there.

    Raises:
        ArtifactError: if torchvision publishes no weights of this network, or the download fails.
    """
    import torch

    if network.published is None:
        raise ArtifactError(
            f"There is no download of weights for {name}: they come from {network.weights_from}."
        )
    path, url = _place(network.published)
    try:
        # The digest is checked: its first digits are in the file name.
        torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"The weights of {name} cannot be downloaded ({error}): download {url} on a machine "
            "with internet access, and name the file with --weights."
        ) from error
    return path


def downloaded_path(network: Network) -> Path | None:
    """The file of weights downloaded before, or None."""
    if network.published is None:
        return None
    path, _ = _place(network.published)
    return path if path.is_file() else None


def _place(published: str) -> tuple[Path, str]:
    """The file in torch's cache, and its URL."""
    import torch
    from torchvision.models import get_weight

    url: str = get_weight(published).url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name, url
