"""The Python API: a gallery in a folder, with its method and feature maps.

>>> library = ImageLibrary.create("my-gallery")
>>> progress = library.index(["photos/"])
>>> for hit in library.search("query.jpg", box=(40, 12, 300, 280), rerank=1000).hits:
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
from descriptors.errors import RequestError
from descriptors.expansion import combined_query
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
    with_own_windows,
)
from galleries.local import LocalGallery
from indexer.addresses import read_source
from indexer.encoding import encode_documents
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import as_sources
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
    from reranker.ranking import RerankBy

    # With a box in its pixels as a pair.
    QueryImage = str | Path | RgbImage | tuple[str | Path | RgbImage, Sequence[float] | None]

__all__ = ["ImageLibrary", "Machine"]


class ImageLibrary:
    """A local gallery with its method and feature maps."""

    def __init__(
        self,
        gallery: LocalGallery,
        method: Method,
        features: FeatureStore | None,
        regions: RegionSettings,
        machine: Machine,
    ) -> None:
        """Use `create` or `open` instead."""
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
        maps: str | None = None,
        machine: Machine | None = None,
    ) -> Self:
        """Create a gallery in a folder, or open an existing one with the same settings.

        Args:
            folder: created if missing.
            settings: of the method; None for the default preset, with an existing gallery's windows.
            regions: of re-ranking; None for the default preset.
            whitening: a file written by `camsearch fit`, which is copied; None for the network's
                packaged one.
            weights: a local weight file; None for the packaged weights.
            maps: where to store feature maps: a folder in the gallery's, or an fsspec address;
                with None they are encoded again where they are needed. An existing gallery keeps
                its own setting.
            machine: where to compute.

        Raises:
            FingerprintMismatch: if the folder has a gallery of another method.
            ArtifactError: if weights or whitening are missing or do not fit.
        """
        folder, machine = Path(folder), machine or Machine()
        settings = settings or with_own_windows(folder, MethodSettings())
        regions = regions or RegionSettings()
        method = method_of(settings, whitening, weights, machine)
        source = whitening or packaged_whitening(settings.network)
        about = about_method(
            method,
            regions,
            whitening=Path(WHITENING),
            weights=weights.absolute() if weights else None,
            maps=maps,
        )
        gallery = LocalGallery.create(folder, settings.dims, about["fingerprint"], about)
        with _closed_on_error(gallery):
            # Also repairs a copy that was interrupted.
            _copy(source.with_suffix(".json"), (folder / WHITENING).with_suffix(".json"))
            _copy(source, folder / WHITENING)
            return cls._assemble(folder, gallery, method, machine)

    @classmethod
    def open(cls, folder: str | Path, machine: Machine | None = None) -> Self:
        """Open a gallery with the settings, weights and whitening it was created with.

        Raises:
            GalleryNotFound, GalleryDamaged: if it is missing or unreadable.
            FingerprintMismatch: if weights or whitening have changed.
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
        """Index folders, files, or `Source`s of a manifest.

        Args:
            images: paths, or sources with ids and metadata; read as a stream.
            again: encode unchanged images again.
            retry_rejects: retry unchanged images that were refused before.
            on_progress: called after each batch.

        Returns:
            Counts; each image is indexed, or listed as a reject with a reason.
        """
        plan = self._plan(again=again, retry_rejects=retry_rejects)
        sources = as_sources(images)
        if self.features is not None:
            self.features.sweep()
        return index_sources(sources, self.method, self.gallery, self.features, plan, on_progress)

    def describe(self, image: RgbImage, box: Sequence[float] | None = None) -> QueryDescription:
        """Describe a query image, optionally with a box in its pixels."""
        return self.describe_examples([(image, box)])

    def read(self, path: str | Path) -> RgbImage:
        """Read an image file at full size."""
        limits = self.machine.limits
        return read_image(read_source(str(path), limits), limits)

    def describe_examples(
        self, images: Sequence[QueryImage], without: Sequence[QueryImage] = ()
    ) -> QueryDescription:
        """Describe views of one thing, and images of what it is not, as one query."""
        examples = [self._example(one) for one in (*images, *without)]
        described = self.method.describe_queries(examples, self.regions)
        return combined_query(described[: len(images)], described[len(images) :])

    def _example(self, one: QueryImage) -> tuple[RgbImage, Box | None]:
        image, box = one if isinstance(one, tuple) else (one, None)
        read = image if isinstance(image, RgbImage) else self.read(image)
        return read, None if box is None else Box(*box)

    def search(  # noqa: PLR0913 - the options of a search, keyword-only
        self,
        image: str | Path | RgbImage | None = None,
        box: Sequence[float] | None = None,
        *,
        images: Sequence[QueryImage] = (),
        without: Sequence[QueryImage] = (),
        k: int = 10,
        rerank: int = 0,
        by: RerankBy | None = None,
        refine: bool = False,
        expand: int = 0,
        alpha: float = 0.0,
        matching: Filter | None = None,
    ) -> Ranking:
        """Find images of the same object.

        Args:
            image: a file, or an image that has been read.
            box: ``x0, y0, x1, y1`` in pixels of the upright image, half-open.
            images: several views of one thing, in the place of `image` and `box`; one with a box
                is a pair.
            without: images of what it is not.
            k: number of hits.
            rerank: R, number of first hits to re-rank; 0 for none.
            by: what re-ranking compares: ``windows`` of the index, CAM regions of feature ``maps``
                or whole ``images``; None for windows if the gallery has them, else maps.
            refine: fit the window of each hit to the object; encodes hits whose maps are not kept.
            expand: n, number of hits that expand the query; 0 for none.
            alpha: exponent of alpha-QE; 0 for equal weights.
            matching: a filter on the documents.
        """
        if (image is None) == (not images) or (images and box is not None):
            raise RequestError("Give `image`, perhaps with `box`, or `images`: one of the two.")
        query = self.describe_examples([(image, box)] if image is not None else images, without)
        plan = SearchPlan(
            k, rerank, by, expand=expand, alpha=alpha, matching=matching, refine=refine
        )
        return self.searcher.search(query, plan)

    def query_heat(self, image: RgbImage, query: QueryDescription) -> Float[np.ndarray, "H W"]:
        """Heat map of the query image for its own top classes, 0..1, in cells."""
        return self.heat_of(query, self.method.encode(image))

    def heat_of(self, query: QueryDescription, encoded: Encoded) -> Float[np.ndarray, "H W"]:
        """Heat map of an image for the query's top classes, 0..1, in cells."""
        heat = self.method.query_heat(encoded, query.classes[None], self.regions)[0].float()
        shown: Float[np.ndarray, "H W"] = (heat / heat.max().clamp_min(1e-6)).cpu().numpy()
        return shown

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete images; returns the ids that existed."""
        gone = self.gallery.delete(ids)
        if self.features is not None:
            self.features.delete(gone)
        return gone

    def close(self) -> None:
        """Close files and threads."""
        self.searcher.close()
        self.gallery.close()
        if self.features is not None:
            self.features.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plan(self, *, again: bool = False, retry_rejects: bool = False) -> IndexingPlan:
        return IndexingPlan.on(
            self.machine,
            again=again,
            retry_rejects=retry_rejects,
            class_names=self.method.class_names,
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
    """Copy a file atomically."""
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)
