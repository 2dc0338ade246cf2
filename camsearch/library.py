"""A gallery in a folder with all that belongs to it: the Python door to camsearch.

>>> library = ImageLibrary.create("my-gallery")
>>> progress = library.index(["photos/"])
>>> for hit in library.search("query.jpg", box=(40, 12, 300, 280), rerank=100).hits:
...     print(Path(hit.document.uri).name, hit.score, hit.box)
same-thing.jpg 0.9... Box(x0=..., y0=..., x1=..., y1=...)
other.jpg 0... Box(x0=..., y0=..., x1=..., y1=...)
>>> library.close()
"""

from __future__ import annotations

import filecmp
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from descriptors.arrays import Box
from descriptors.classes import class_names
from descriptors.images import RgbImage, read_image
from descriptors.machine import Machine, method_of
from descriptors.settings import MethodSettings, RegionSettings
from descriptors.whitening import packaged_whitening
from galleries.about import (
    WHITENING,
    about_folder,
    about_method,
    features_of,
    method_about,
    regions_about,
)
from galleries.local import LocalGallery
from indexer.addresses import read_source
from indexer.encoding import encode_documents
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import find_images
from reranker.pipeline import Searcher
from reranker.ranking import Ranking, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from jaxtyping import Float

    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method
    from galleries.documents import IndexedImage
    from galleries.features import FeatureStore
    from galleries.filters import Filter
    from galleries.kept_maps import KeptMaps
    from indexer.progress import Progress
    from indexer.sources import Source

__all__ = ["ImageLibrary", "Machine"]


class ImageLibrary:
    """A local gallery, its method and its kept maps."""

    def __init__(
        self,
        gallery: LocalGallery,
        method: Method,
        features: FeatureStore | None,
        regions: RegionSettings,
        machine: Machine,
    ) -> None:
        """Put the parts together; `create` and `open` do it for you."""
        self.gallery, self.method, self.features = gallery, method, features
        self.regions, self.machine = regions, machine
        self.searcher = Searcher(method, gallery, features, regions, self._encode)

    @classmethod
    def create(  # noqa: PLR0913 - what a gallery is made of
        cls,
        folder: str | Path,
        settings: MethodSettings | None = None,
        regions: RegionSettings | None = None,
        *,
        whitening: Path | None = None,
        weights: Path | None = None,
        maps: str | None = "maps",
        machine: Machine | None = None,
    ) -> Self:
        """Make a gallery in a folder, or open it if it is there with the same settings.

        Args:
            folder: of the gallery; made if need be.
            settings: of the method; the default preset if None.
            regions: of the re-ranking; the default preset if None.
            whitening: a file of `camsearch fit`; None for the packaged one. It is copied.
            weights: a local weight file; None for those of the network's package.
            maps: where feature maps are kept: a folder within the gallery's, or any fsspec
                address; None keeps none, and re-ranking reads the images again.
            machine: where to compute.

        Raises:
            FingerprintMismatch: if another method's gallery is there.
            ArtifactError: if weights or whitening are missing or do not fit.
        """
        folder, machine = Path(folder), machine or Machine()
        settings, regions = settings or MethodSettings(), regions or RegionSettings()
        source = whitening or packaged_whitening()
        method = method_of(settings, whitening, weights, machine)
        about = about_method(
            method,
            regions,
            whitening=Path(WHITENING),
            weights=weights.absolute() if weights else None,
            maps=maps,
        )
        gallery = LocalGallery.create(folder, settings.dims, about["fingerprint"], about)
        with _closed_on_error(gallery):
            # The method is that of the gallery, so this also mends what a kill left half copied.
            _copy(source.with_suffix(".json"), (folder / WHITENING).with_suffix(".json"))
            _copy(source, folder / WHITENING)
            return cls._assemble(folder, gallery, method, machine)

    @classmethod
    def open(cls, folder: str | Path, machine: Machine | None = None) -> Self:
        """Open a gallery with the settings, weights and whitening it was made with.

        Raises:
            GalleryNotFound, GalleryDamaged: if there is none to read.
            FingerprintMismatch: if weights or whitening are not those of its vectors.
        """
        folder, machine = Path(folder), machine or Machine()
        gallery = LocalGallery.open(folder)
        with _closed_on_error(gallery):
            method = method_about(about_folder(gallery), machine, folder)
            return cls._assemble(folder, gallery, method, machine)

    @classmethod
    def _assemble(
        cls, folder: Path, gallery: LocalGallery, method: Method, machine: Machine
    ) -> Self:
        about = about_folder(gallery)
        return cls(gallery, method, features_of(about, folder), regions_about(about), machine)

    def index(
        self,
        images: Iterable[str | Path] | Iterable[Source],
        *,
        again: bool = False,
        retry_rejects: bool = False,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Index images: folders, files, or `Source`s of a manifest; a stream of any length.

        Args:
            images: paths, or sources with ids and metadata.
            again: also encode what has not changed.
            retry_rejects: also try what was refused and has not changed.
            on_progress: called after each batch.

        Returns:
            Counts; each image is either indexed or noted with the reason why not.
        """
        plan = self._plan(again=again, retry_rejects=retry_rejects)
        sources = _sources(images)
        if self.features is not None:
            self.features.sweep()
        return index_sources(sources, self.method, self.gallery, self.features, plan, on_progress)

    def describe(self, image: RgbImage, box: Sequence[float] | None = None) -> QueryDescription:
        """A query, from an image and perhaps a box in its pixels."""
        return self.method.describe_query(image, self.regions, Box(*box) if box else None)

    def read(self, path: str | Path) -> RgbImage:
        """An image file at its full size."""
        limits = self.machine.limits
        return read_image(read_source(str(path), limits), limits)

    def search(  # noqa: PLR0913 - the options of a search, keyword-only
        self,
        image: str | Path | RgbImage,
        box: Sequence[float] | None = None,
        *,
        k: int = 10,
        rerank: int = 0,
        expand: int = 0,
        alpha: float = 0.0,
        matching: Filter | None = None,
    ) -> Ranking:
        """Find the images that show the same thing.

        Args:
            image: a file, or an image already read.
            box: ``x0, y0, x1, y1`` in pixels of the upright image, half-open.
            k: hits wanted.
            rerank: R, first hits to re-rank by CAM regions; 0 for none.
            expand: n, hits that expand the query; 0 for none.
            alpha: of alpha-QE; 0 is plain.
            matching: a filter on the documents.
        """
        query = image if isinstance(image, RgbImage) else self.read(image)
        plan = SearchPlan(k, rerank, expand=expand, alpha=alpha, matching=matching)
        return self.searcher.search(self.describe(query, box), plan)

    def query_heat(self, image: RgbImage, query: QueryDescription) -> Float[np.ndarray, "H W"]:
        """Where the query image speaks for its own best classes, 0..1, in cells."""
        return self.heat_of(query, self.method.encode(image))

    def heat_of(self, query: QueryDescription, encoded: Encoded) -> Float[np.ndarray, "H W"]:
        """Where an image looks like the query's best classes, 0..1, in cells."""
        heat = self.method.query_heat(encoded, query.classes[None], self.regions)[0].float()
        shown: Float[np.ndarray, "H W"] = (heat / heat.max().clamp_min(1e-6)).cpu().numpy()
        return shown

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Forget images; returns the ids that were there."""
        gone = self.gallery.delete(ids)
        if self.features is not None:
            self.features.delete(gone)
        return gone

    def close(self) -> None:
        """Let go of files and threads."""
        self.searcher.close()
        self.gallery.close()
        if self.features is not None:
            self.features.close()

    def __enter__(self) -> Self:
        """The library itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _plan(self, *, again: bool = False, retry_rejects: bool = False) -> IndexingPlan:
        return IndexingPlan.on(
            self.machine,
            again=again,
            retry_rejects=retry_rejects,
            class_names=class_names(),
            coarse_maps=self.regions.coarse_maps,
        )

    def _encode(self, documents: Sequence[IndexedImage]) -> Mapping[str, KeptMaps]:
        return encode_documents(documents, self.method, self._plan())


@contextmanager
def _closed_on_error(gallery: LocalGallery) -> Iterator[None]:
    try:
        yield
    except BaseException:
        gallery.close()
        raise


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that it is whole or not there, whenever we are stopped."""
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _sources(images: Iterable[str | Path] | Iterable[Source]) -> Iterable[Source]:
    if isinstance(images, str | Path):  # one folder, where a list of them is meant
        images = [images]
    for image in images:
        if isinstance(image, str | Path):
            yield from find_images([Path(image)])
        else:
            yield image
