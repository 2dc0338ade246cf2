"""The description of its method that a gallery stores, and loading the method from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings
from galleries.errors import FingerprintMismatch, GalleryDamaged, GalleryNotFound
from galleries.features import FeatureStore
from galleries.local import LocalGallery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from descriptors.machine import Machine
    from descriptors.method import Method

__all__ = ["WHITENING", "about_folder", "about_method", "features_of", "method_about"]
__all__ += ["regions_about", "settings_about", "with_own_windows", "with_windows_of"]

# In the folder of a local gallery.
WHITENING = "whitening.safetensors"


def about_method(
    method: Method,
    regions: RegionSettings,
    *,
    whitening: Path | None = None,
    weights: Path | None = None,
    maps: str | None = None,
) -> dict[str, Any]:
    """Every number that determines a gallery's vectors, as JSON.

    Args:
        method: that computes the descriptors.
        regions: settings of the re-ranking.
        whitening, weights: paths of the method's files that every worker can read, or relative
            to the gallery's folder; None for the packaged ones.
        maps: fsspec address of the feature maps, or a path as above; None if none are kept.
    """
    return {
        "fingerprint": method.fingerprint(),
        "dims": method.settings.dims,
        "method": method.settings.model_dump(mode="json"),
        "regions": regions.model_dump(mode="json"),
        "weights": None if weights is None else str(weights),
        "weights_digest": method.encoder.loaded.weights_digest,
        "whitening": None if whitening is None else str(whitening),
        "whitening_digest": method.whitening.digest(),
        "maps": maps,
    }


def about_folder(gallery: LocalGallery) -> dict[str, Any]:
    """The description stored in a local gallery, completed for older ones."""
    return {"whitening": WHITENING, "fingerprint": gallery.fingerprint, **gallery.settings}


def settings_about(about: Mapping[str, Any]) -> MethodSettings:
    """The settings of a gallery's method.

    Raises:
        GalleryDamaged: this version cannot read them.
    """
    try:
        return MethodSettings.of_gallery(about["method"])
    except (KeyError, ValidationError) as error:
        raise _of_another_version() from error


def with_own_windows(folder: Path, settings: MethodSettings) -> MethodSettings:
    """The settings with the windows of the gallery in a folder; as they are if there is none."""
    try:
        with LocalGallery.open(folder) as gallery:
            return with_windows_of(gallery.settings, settings)
    except GalleryNotFound:
        return settings


def with_windows_of(about: Mapping[str, Any], settings: MethodSettings) -> MethodSettings:
    """The settings, with the windows of an existing gallery; see `settings_about`."""
    return settings.model_copy(update={"windows": settings_about(about).windows})


def method_about(about: Mapping[str, Any], machine: Machine, folder: Path = Path()) -> Method:
    """The method that made a gallery's vectors.

    Args:
        about: stored in the gallery; see `about_method`.
        machine: where to compute.
        folder: of a local gallery.

    Raises:
        GalleryDamaged: this version cannot read the settings.
        ArtifactError: weights or whitening are missing or damaged.
        FingerprintMismatch: the gallery was made with others.
    """
    settings = settings_about(about)
    try:
        files = [about["whitening"], about["weights"]]
    except KeyError as error:
        raise _of_another_version() from error
    whitening, weights = (None if name is None else folder / name for name in files)
    method = method_of(settings, whitening, weights, machine)
    if method.fingerprint() != about["fingerprint"]:
        raise FingerprintMismatch(
            f"The gallery was made with fingerprint {about['fingerprint'][:16]}, but these files "
            f"have {method.fingerprint()[:16]}: put back the weights and the whitening it was "
            "made with, or index its images again (`camsearch gallery rebuild`, or `camsearch "
            "index` into a new folder)."
        )
    return method


def regions_about(about: Mapping[str, Any]) -> RegionSettings:
    """The settings of a gallery's re-ranking.

    Raises:
        GalleryDamaged: this version cannot read them.
    """
    try:
        return RegionSettings.of_gallery(about["regions"])
    except (KeyError, ValidationError) as error:
        raise _of_another_version() from error


def features_of(about: Mapping[str, Any], folder: Path = Path()) -> FeatureStore | None:
    """The kept maps of a gallery; None if it keeps none.

    Raises:
        FeatureStoreError: the address cannot be used on this machine.
    """
    maps = about.get("maps")
    if maps is None:
        return None
    address = maps if "://" in maps else str((folder / maps).absolute())
    return FeatureStore(address, about["fingerprint"])


def _of_another_version() -> GalleryDamaged:
    return GalleryDamaged(
        "The gallery's settings cannot be read by this version of camsearch: use the version that "
        "made it, or index its images again (`camsearch gallery rebuild`, or `camsearch index` "
        "into a new folder)."
    )
