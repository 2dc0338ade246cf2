"""Kept maps as the baselines read them, and the vectors of images by every way of pooling."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from descriptors.arrays import FeatureMaps, Region, region_of_box

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box, Encoded
    from evaluation.encoding import EncodedImages
    from evaluation.trials import DatasetImage, Trial

    Pool = Callable[["LayerMaps"], Float[Tensor, "B V K"]]
    # An image, or a box of it.
    Key = tuple[Path, Box | None]
    # The vectors of each layer, for each way of pooling.
    Pooled = Mapping[Pool, Sequence[Float[Tensor, "V K"]]]

__all__ = [
    "LayerMaps",
    "Pooler",
    "RegionMaxima",
    "asked_keys",
    "batched",
    "gallery_keys",
    "stacked",
]

# More than the powers of two in a side.
_KINDS = 32


class RegionMaxima:
    """Maxima of any rectangle, from maxima over blocks of 1, 2, 4, ... cells a side.

    Four blocks whose sides are the largest powers of two that fit cover a rectangle; a maximum
    may count the overlaps twice. Bytes stay bytes, to save memory.

    Source:
        A sparse table in two dimensions, in place of the integral max-pooling of Tolias et al.
        2016 (section 4.1), which also needs four look-ups, but approximates.
    """

    def __init__(self, levels: Shaped[Tensor, "B K H W"]) -> None:
        """Take the maps of one layer; blocks are computed when a rectangle needs them."""
        self._blocks = {(0, 0): levels.permute(0, 2, 3, 1).contiguous()}

    def of(self, regions: Int[np.ndarray, "M 4"]) -> Shaped[Tensor, "B M K"]:
        """The maximum of each channel in each region (``x0 y0 x1 y1`` in cells, half-open)."""
        cells = self._blocks[0, 0]
        found = cells.new_empty((cells.shape[0], len(regions), cells.shape[3]))
        # frexp gives the exponent e of side < 2^e, exactly.
        _, exponents = np.frexp(regions[:, 2:] - regions[:, :2])
        # unique is far faster on numbers than on rows.
        kinds = exponents[:, 0] * _KINDS + exponents[:, 1]
        for kind in np.unique(kinds).tolist():
            rows = np.flatnonzero(kinds == kind)
            across, down = kind // _KINDS - 1, kind % _KINDS - 1
            at = torch.from_numpy(rows).to(cells.device)
            found.index_copy_(1, at, self._of_blocks(regions[rows], down, across))
        return found

    def _of_blocks(
        self, regions: Int[np.ndarray, "m 4"], down: int, across: int
    ) -> Shaped[Tensor, "B m K"]:
        blocks = self._made(down, across)
        x0, y0, x1, y1 = regions.T
        columns, rows = (x0, x1 - 2**across), (y0, y1 - 2**down)
        places = np.concatenate([y * blocks.shape[2] + x for y in rows for x in columns])
        corners = blocks.flatten(1, 2).index_select(1, torch.from_numpy(places).to(blocks.device))
        highest: Tensor = corners.unflatten(1, (4, -1)).amax(dim=1)
        return highest

    def _made(self, down: int, across: int) -> Shaped[Tensor, "B _ _ K"]:
        """Maxima over blocks of ``2^down`` rows and ``2^across`` columns, by their first cell."""
        if (down, across) not in self._blocks:
            if across:
                smaller, step = self._made(down, across - 1), 2 ** (across - 1)
                made = torch.maximum(smaller[:, :, :-step], smaller[:, :, step:])
            else:
                smaller, step = self._made(down - 1, 0), 2 ** (down - 1)
                made = torch.maximum(smaller[:, :-step], smaller[:, step:])
            self._blocks[down, across] = made
        return self._blocks[down, across]


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer for some images of one shape; each form is computed once."""

    maps: FeatureMaps

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.maps.levels.shape[2]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.maps.levels.shape[3]

    @property
    def scale(self) -> Float[Tensor, "B K"]:
        """The value of one level."""
        return self.maps.scale

    @cached_property
    def cells(self) -> Float[Tensor, "B K P"]:
        """Levels as numbers, row by row."""
        return self.maps.levels.flatten(2).float()

    @cached_property
    def maxima(self) -> RegionMaxima:
        """Maxima of rectangles."""
        return RegionMaxima(self.maps.levels)

    def highest(self, regions: Sequence[Region] | Int[np.ndarray, "M 4"]) -> Float[Tensor, "B M K"]:
        """The maximum of each channel in each region, l2-normalised a region."""
        levels = self.maxima.of(np.asarray(regions, dtype=np.int64).reshape(-1, 4))
        return functional.normalize(levels.float() * self.scale[:, None], dim=2)


_BATCH = 64


@dataclass(frozen=True)
class Pooler:
    """Pools images, and the boxes of queries in them, from their kept maps.

    Attributes:
        pools: each way of pooling, once.
        boxes: of the queries, by file.
    """

    encoded: EncodedImages
    pools: Collection[Pool]
    boxes: Mapping[Path, Sequence[Box]]

    @classmethod
    def of(cls, encoded: EncodedImages, pools: Iterable[Pool], trials: Sequence[Trial]) -> Pooler:
        """For the queries of some trials."""
        boxes: dict[Path, dict[Box, None]] = defaultdict(dict)
        for query in chain.from_iterable(trial.queries for trial in trials):
            if query.box is not None:
                boxes[query.image.file][query.box] = None
        return cls(encoded, list(dict.fromkeys(pools)), {f: list(b) for f, b in boxes.items()})

    def batches(self, images: Sequence[DatasetImage]) -> Iterator[list[tuple[Key, Pooled]]]:
        """The vectors of images and their boxes; the order is not the one given."""
        for batch, maps in self.encoded.batches(images):
            layers = self._pooled(maps.features)
            found: list[tuple[Key, Pooled]] = []
            for row, image in enumerate(batch):
                whole = {pool: [layer[row] for layer in layers[pool]] for pool in self.pools}
                found.append(((image.file, None), whole))
                for box in self.boxes.get(image.file, ()):
                    cut = cut_to(maps[row : row + 1], image, box)
                    inside = {
                        pool: [layer[0] for layer in v] for pool, v in self._pooled(cut).items()
                    }
                    found.append(((image.file, box), inside))
            yield found

    def _pooled(self, features: Sequence[FeatureMaps]) -> dict[Pool, list[Float[Tensor, "B V K"]]]:
        layers = [LayerMaps(maps) for maps in features]
        return {pool: [pool(layer).cpu() for layer in layers] for pool in self.pools}


def cut_to(maps: Encoded, image: DatasetImage, box: Box) -> tuple[FeatureMaps, ...]:
    """The cells of one image's layers inside a box, as in the systems' papers."""
    inside = box.inside(image.size)
    return tuple(
        layer.cut(region_of_box(inside, image.size, maps.grid(layer.cells)))
        for layer in maps.features
    )


def gallery_keys(trial: Trial) -> list[Key]:
    """Keys of the images that are searched."""
    return [(image.file, None) for image in trial.gallery]


def asked_keys(trial: Trial) -> list[Key]:
    """Keys of the queries."""
    return [(query.image.file, query.box) for query in trial.queries]


def stacked(
    pooled: Iterable[Sequence[Float[Tensor, "_ _"]]],
) -> tuple[Float[Tensor, "B V _"], ...]:
    """Vectors of several images, layer by layer, padded with zero rows."""
    return tuple(pad_sequence(list(layer), batch_first=True) for layer in zip(*pooled, strict=True))


def batched(kept: Mapping[Key, Pooled]) -> Iterator[list[tuple[Key, Pooled]]]:
    """Some images at a time."""
    items = iter(kept.items())
    while part := list(islice(items, _BATCH)):
        yield part
