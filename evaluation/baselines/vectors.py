"""The vectors of photos by every way of pooling, in one pass over their maps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from descriptors.arrays import region_of_box
from evaluation.baselines.maps import LayerMaps

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box, Encoded, FeatureMaps
    from evaluation.baselines.maps import Pool
    from evaluation.encoding import EncodedPhotos
    from evaluation.trials import Photo, Trial

    # A photo, or a box of it.
    Key = tuple[Path, Box | None]
    # Of each layer, for each way of pooling.
    Pooled = Mapping[Pool, Sequence[Float[Tensor, "V K"]]]

__all__ = ["Pooler", "asked_keys", "batched", "gallery_keys", "stacked"]

_BATCH = 64


@dataclass(frozen=True)
class Pooler:
    """Pools photos, and the boxes of them that are asked with, from their kept maps.

    Attributes:
        encoded: the maps.
        pools: each way of pooling, once.
        boxes: of each photo that is asked with boxes.
    """

    encoded: EncodedPhotos
    pools: Collection[Pool]
    boxes: Mapping[Path, Sequence[Box]]

    @classmethod
    def of(cls, encoded: EncodedPhotos, pools: Iterable[Pool], trials: Sequence[Trial]) -> Pooler:
        """For the queries of some trials."""
        boxes: dict[Path, dict[Box, None]] = defaultdict(dict)
        for query in chain.from_iterable(trial.queries for trial in trials):
            if query.box is not None:
                boxes[query.photo.file][query.box] = None
        return cls(encoded, list(dict.fromkeys(pools)), {f: list(b) for f, b in boxes.items()})

    def batches(self, photos: Sequence[Photo]) -> Iterator[list[tuple[Key, Pooled]]]:
        """The vectors of photos and their boxes; the order is not the one given."""
        for batch, maps in self.encoded.batches(photos):
            layers = self._pooled(maps.features)
            found: list[tuple[Key, Pooled]] = []
            for row, photo in enumerate(batch):
                whole = {pool: [layer[row] for layer in layers[pool]] for pool in self.pools}
                found.append(((photo.file, None), whole))
                for box in self.boxes.get(photo.file, ()):
                    cut = cut_to(maps[row : row + 1], photo, box)
                    inside = {
                        pool: [layer[0] for layer in v] for pool, v in self._pooled(cut).items()
                    }
                    found.append(((photo.file, box), inside))
            yield found

    def _pooled(self, features: Sequence[FeatureMaps]) -> dict[Pool, list[Float[Tensor, "B V K"]]]:
        layers = [LayerMaps(maps) for maps in features]
        return {pool: [pool(layer).cpu() for layer in layers] for pool in self.pools}


def cut_to(maps: Encoded, photo: Photo, box: Box) -> tuple[FeatureMaps, ...]:
    """The cells of one photo's layers inside a box, as the systems' papers do it."""
    inside = box.inside(photo.size)
    return tuple(
        layer.cut(region_of_box(inside, photo.size, maps.grid(layer.cells)))
        for layer in maps.features
    )


def gallery_keys(trial: Trial) -> list[Key]:
    """The photos that are searched."""
    return [(photo.file, None) for photo in trial.gallery]


def asked_keys(trial: Trial) -> list[Key]:
    """The photos, or boxes of them, that are asked with."""
    return [(query.photo.file, query.box) for query in trial.queries]


def stacked(
    pooled: Iterable[Sequence[Float[Tensor, "_ _"]]],
) -> tuple[Float[Tensor, "B V _"], ...]:
    """Vectors of several photos, layer by layer; zero rows where a photo has fewer than others."""
    return tuple(pad_sequence(list(layer), batch_first=True) for layer in zip(*pooled, strict=True))


def batched(kept: Mapping[Key, Pooled]) -> Iterator[list[tuple[Key, Pooled]]]:
    """Vectors at hand, some photos at a time."""
    items = iter(kept.items())
    while part := list(islice(items, _BATCH)):
        yield part
