"""Download the weights of torchvision and timm for `--weights download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from descriptors.errors import ArtifactError
from descriptors.networks.timm_networks import TIMM

if TYPE_CHECKING:
    from descriptors.networks.network import Network

__all__ = ["download_weights", "downloaded_path"]


def download_weights(name: str, network: Network) -> Path:
    """The file of torchvision's or timm's weights, downloaded to their cache if it is not there.

    Raises:
        ArtifactError: if they publish no weights of this network, or the download fails.
    """
    import torch

    if name.startswith(TIMM):
        return _from_timm(name)
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


def _from_timm(name: str) -> Path:
    """The file of timm's default weights, or of those of the tag after the name's dot."""
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    about = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if about is None or not about.hf_hub_id:
        raise ArtifactError(
            f"There is no download of weights for {name}: give a state dict of timm with --weights."
        )
    file = about.hf_hub_filename or "model.safetensors"
    try:
        return Path(hf_hub_download(about.hf_hub_id, file))
    except (OSError, ValueError, EntryNotFoundError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ArtifactError(
            f"The weights of {name} cannot be downloaded ({told[0].rstrip('.')}): download {file} "
            f"of {about.hf_hub_id} on a machine with internet access, and name the file with "
            "--weights."
        ) from error


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
