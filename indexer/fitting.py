"""A whitening fitted on pictures: read, encoded in batches, their class vectors collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from descriptors.fitting import WhiteningFit
from indexer.reading import IndexingPlan, Prepared, batches_of_one_shape, prepare_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings
    from indexer.reading import Refused
    from indexer.sources import Source

__all__ = ["check_enough", "collect_vectors"]

# With fewer class vectors for each dimension the whitening follows its pictures, not the world.
_VECTORS_A_DIMENSION = 4


def collect_vectors(
    encoder: Encoder,
    sources: Iterable[Source],
    plan: IndexingPlan,
    follow: Callable[[Iterator[Prepared | Refused]], Iterable[Prepared | Refused]] = iter,
) -> WhiteningFit:
    """Class vectors of pictures, for a fit; what cannot be read is left out.

    Args:
        encoder: of the method.
        sources: of the pictures.
        plan: how to read.
        follow: sees what is read go by, as a progress bar does.
    """
    fitting = WhiteningFit(encoder)
    outcomes = follow(prepare_pictures(sources, encoder.settings, plan))
    pictures = (outcome for outcome in outcomes if isinstance(outcome, Prepared))
    for batch in batches_of_one_shape(pictures, plan.batch_size):
        fitting.add(encoder.encode(encoder.prepare([p.pixels for p in batch])))
    return fitting


def check_enough(pictures: int, settings: MethodSettings) -> None:
    """Refuse a fit that follows its few pictures.

    Raises:
        RequestError: with how many are needed.
    """
    dims = max(layer.dims for layer in settings.layers)
    needed = -(-_VECTORS_A_DIMENSION * dims // settings.n_pca)
    if pictures < needed:
        raise RequestError(
            f"{pictures} pictures are too few for {dims} dimensions a layer: fit on {needed} or "
            "more, name fewer dimensions with --layers, or use the packaged whitening."
        )
