"""Read and encode images in batches without a gallery: to fit a whitening, to recompute maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from descriptors.class_patches import ClassPatches
from descriptors.errors import RequestError
from descriptors.learned import ClassFit
from descriptors.whitening import WhiteningFit
from galleries.kept_maps import KeptMaps, pack, unpack
from indexer.reading import IndexingPlan, Prepared, batches_of_one_shape, prepare_images
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jaxtyping import UInt8
    from torch import Tensor

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from descriptors.learned import LearnedClasses
    from descriptors.method import Method
    from descriptors.settings import MethodSettings
    from galleries.documents import IndexedImage
    from indexer.reading import Refused

    Follow = Callable[[Iterator[Prepared | Refused]], Iterable[Prepared | Refused]]

__all__ = ["check_enough", "collect_vectors", "encode_documents", "learn_classes"]

# With fewer class vectors per dimension the whitening overfits.
_VECTORS_PER_DIMENSION = 4


def learn_classes(
    encoder: Encoder,
    sources: Iterable[Source],
    plan: IndexingPlan,
    count: int,
    follow: Follow = iter,
) -> LearnedClasses:
    """Learn classes from images; unreadable images are skipped.

    Args:
        count: number of classes.
        follow: see `collect_vectors`.

    Raises:
        RequestError: there are too few images.
    """
    fitting = ClassFit(count)
    for _, encoded in _encoded(encoder, sources, plan, follow):
        fitting.add(encoded)
    return fitting.fit()


def collect_vectors(
    encoder: Encoder,
    sources: Iterable[Source],
    plan: IndexingPlan,
    follow: Follow = iter,
    classes: LearnedClasses | None = None,
) -> WhiteningFit:
    """Collect the class vectors of images for a whitening; unreadable images are skipped.

    Args:
        follow: wraps the stream of read images, as a progress bar does.
        classes: learned ones, whose patches are collected on the way; None for the network's own.
    """
    if classes is None:
        fitting = WhiteningFit(encoder)
        for _, encoded in _encoded(encoder, sources, plan, follow):
            fitting.add(encoded)
        return fitting
    encoder = encoder.with_classes(classes)
    fitting, patches = WhiteningFit(encoder, classes), ClassPatches(encoder)
    for pixels, encoded in _encoded(encoder, sources, plan, follow):
        fitting.add(encoded)
        patches.add(pixels, encoded)
    fitting.classes = replace(classes, patches=patches.sorted())
    return fitting


def _encoded(
    encoder: Encoder, sources: Iterable[Source], plan: IndexingPlan, follow: Follow
) -> Iterator[tuple[UInt8[Tensor, "B 3 h w"], Encoded]]:
    """The pixels and maps of all images that can be read, in batches of one shape."""
    outcomes = follow(prepare_images(sources, encoder.settings, plan))
    prepared = (outcome for outcome in outcomes if isinstance(outcome, Prepared))
    for batch in batches_of_one_shape(prepared, plan.batch_size):
        pixels = encoder.prepare([p.pixels for p in batch])
        yield pixels, encoder.encode(pixels)


def check_enough(images: int, settings: MethodSettings) -> None:
    """Raise `RequestError` if there are too few images to fit a whitening."""
    dims = max(layer.dims for layer in settings.layers)
    needed = -(-_VECTORS_PER_DIMENSION * dims // settings.n_pca)
    if images < needed:
        raise RequestError(
            f"{images} images are too few for {dims} dimensions per layer: fit on {needed} or "
            "more, choose fewer dimensions with --layers, or use the packaged whitening."
        )


def encode_documents(
    documents: Sequence[IndexedImage], method: Method, plan: IndexingPlan
) -> dict[str, KeptMaps]:
    """Recompute maps from the images of documents.

    Returns:
        Maps by id, without images that are unreadable or have changed since they were indexed.
    """
    sources = [Source(d.id, d.uri) for d in documents]
    digests = {d.id: d.digest for d in documents}
    # Without the digest, anyone who can write documents could probe this machine's files.
    prepared = (
        p
        for p in prepare_images(sources, method.settings, plan)
        if isinstance(p, Prepared) and p.digest == digests[p.source.id]
    )
    maps: dict[str, KeptMaps] = {}
    for batch in batches_of_one_shape(prepared, plan.batch_size):
        encoded = method.encoder.encode(method.encoder.prepare([p.pixels for p in batch]))
        packed = pack(encoded, [p.digest for p in batch])
        maps |= {p.source.id: unpack(data) for p, data in zip(batch, packed, strict=True)}
    return maps
