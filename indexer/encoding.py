"""Read and encode images in batches without a gallery: to fit a whitening, to recompute maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from descriptors.whitening import WhiteningFit
from galleries.kept_maps import KeptMaps, pack, unpack
from indexer.reading import IndexingPlan, Prepared, batches_of_one_shape, prepare_images
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from descriptors.encoder import Encoder
    from descriptors.method import Method
    from descriptors.settings import MethodSettings
    from galleries.documents import IndexedImage
    from indexer.reading import Refused

__all__ = ["check_enough", "collect_vectors", "encode_documents"]

# With fewer class vectors per dimension the whitening overfits.
_VECTORS_PER_DIMENSION = 4


def collect_vectors(
    encoder: Encoder,
    sources: Iterable[Source],
    plan: IndexingPlan,
    follow: Callable[[Iterator[Prepared | Refused]], Iterable[Prepared | Refused]] = iter,
) -> WhiteningFit:
    """Collect the class vectors of images for a whitening; unreadable images are skipped.

    Args:
        follow: wraps the stream of read images, as a progress bar does.
    """
    fitting = WhiteningFit(encoder)
    outcomes = follow(prepare_images(sources, encoder.settings, plan))
    prepared = (outcome for outcome in outcomes if isinstance(outcome, Prepared))
    for batch in batches_of_one_shape(prepared, plan.batch_size):
        fitting.add(encoder.encode(encoder.prepare([p.pixels for p in batch])))
    return fitting


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
