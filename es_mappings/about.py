"""What a gallery says of the method that made it, and that method put together again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings
from es_mappings.errors import ContractError, FingerprintMismatch
from es_mappings.features import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from descriptors.machine import Machine
    from descriptors.method import Method

__all__ = ["about_method", "features_of", "method_about", "regions_about"]


def about_method(
    method: Method,
    regions: RegionSettings,
    *,
    whitening: Path | None = None,
    weights: Path | None = None,
    maps: str | None = None,
) -> dict[str, Any]:
    """Every number behind a gallery's vectors, as JSON for the mapping's ``_meta.camsearch``.

    Args:
        method: makes the descriptors.
        regions: of the re-ranking.
        whitening, weights: the files it was made of, where every worker can read them; None
            for those of the package.
        maps: fsspec address of the feature maps; None if none are kept.
    """
    return {
        "fingerprint": method.fingerprint(),
        "dims": method.settings.dims,
        "method": method.settings.model_dump(mode="json"),
        "regions": regions.model_dump(mode="json"),
        "weights": _address(weights),
        "weights_digest": method.encoder.loaded.weights_digest,
        "whitening": _address(whitening),
        "whitening_digest": method.whitening.digest(),
        "maps": maps,
    }


def _address(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def method_about(about: Mapping[str, Any], machine: Machine) -> Method:
    """The method that made a gallery's vectors.

    Args:
        about: from `about_method`, out of the gallery.
        machine: where to compute.

    Raises:
        ContractError: this version cannot read the settings.
        ArtifactError: weights or whitening are missing or damaged.
        FingerprintMismatch: they are not those the gallery was made with.
    """
    try:
        settings = MethodSettings.model_validate(about["method"])
        whitening, weights = _path(about["whitening"]), _path(about["weights"])
    except (KeyError, ValidationError) as error:
        raise _of_another_version() from error
    method = method_of(settings, whitening, weights, machine)
    if method.fingerprint() != about["fingerprint"]:
        raise FingerprintMismatch(
            f"The gallery was made with fingerprint {about['fingerprint'][:16]}, what is here "
            f"makes {method.fingerprint()[:16]}: install the weights and the whitening it was "
            "made with, or rebuild it with `camsearch gallery rebuild`."
        )
    return method


def regions_about(about: Mapping[str, Any]) -> RegionSettings:
    """The settings of a gallery's re-ranking.

    Raises:
        ContractError: this version cannot read them.
    """
    try:
        return RegionSettings.of_gallery(about["regions"])
    except (KeyError, ValidationError) as error:
        raise _of_another_version() from error


def features_of(about: Mapping[str, Any]) -> FeatureStore | None:
    """The kept maps of a gallery; None if it keeps none.

    Raises:
        FeatureStoreError: the address cannot be used on this machine.
    """
    address = about.get("maps")
    return None if address is None else FeatureStore(address, about["fingerprint"])


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _of_another_version() -> ContractError:
    return ContractError(
        "The gallery's settings cannot be read by this version of camsearch: use the version that "
        "made it, or rebuild it with `camsearch gallery rebuild`."
    )
