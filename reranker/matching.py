"""Match hits with the query by their CAM regions."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.arrays import Box, Size, box_of_region
from descriptors.encoder import working_size
from descriptors.refining import refine_box
from galleries.kept_maps import stack_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method
    from descriptors.regions import RegionMatch
    from descriptors.settings import RegionSettings
    from galleries.documents import IndexedImage
    from galleries.features import FeatureStore
    from galleries.kept_maps import KeptMaps

__all__ = ["Match", "Matcher"]

_Item = TypeVar("_Item")

# Hits matched at once: enough to share each step's overhead, few enough for the cache (measured on
# CPU: 2 and 4 are a third slower, 16 and 32 no faster).
_MATCH_BATCH = 8


@dataclass(frozen=True)
class Match:
    """The region of a hit that is most similar to the query.

    Attributes:
        score: cosine with the query.
        box: the region, in pixels of the upright image.
        descriptor: of the region, unit vector.
        tried: every compared region, in pixels, with its cosine.
        whole: descriptor of the whole image with the query's classes; None if not computed.
    """

    score: float
    box: Box
    descriptor: Float[Tensor, " D"]
    tried: tuple[tuple[Box, float], ...]
    whole: Float[Tensor, " D"] | None = None

    def expanding(self, settings: RegionSettings) -> Float[Tensor, " D"] | None:
        """The descriptor that the hit adds to the query; None for its indexed one.

        Source:
            docs/method.md section 5; docs/adr/0006 and 0014.
        """
        if settings.expand_with_regions:
            return self.descriptor
        return self.whole if settings.expand_neighbours else None


class Matcher:
    """Finds the best region of each hit, from kept maps or by encoding its image again."""

    def __init__(
        self,
        method: Method,
        features: FeatureStore | None,
        regions: RegionSettings,
        encode: Callable[[Sequence[IndexedImage]], Mapping[str, KeptMaps]] | None = None,
        max_encoded: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            method: made the gallery's vectors.
            features: kept maps; None if none are kept.
            regions: how regions are proposed and compared.
            encode: reads and encodes images without kept maps.
            max_encoded: images encoded per query; None for all.
        """
        self.method, self.features, self.regions = method, features, regions
        self._encode, self._max_encoded = encode, max_encoded
        # Products are small: one single-threaded worker per core is fastest.
        self.threads = torch.get_num_threads() if method.encoder.device.type == "cpu" else 1
        self._matchers = ThreadPoolExecutor(
            self.threads, "match", partial(torch.set_num_threads, 1)
        )

    def match(
        self,
        query: QueryDescription,
        images: Sequence[IndexedImage],
        regions: RegionSettings | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Match | None]:
        """Find the best region of each image.

        Args:
            query: from `Method.describe_query` with the same settings.
            images: hits of the first search.
            regions: settings in place of the matcher's own.
            stop: called before each batch; once it returns True the rest is left out.

        Returns:
            Matches by id; None where no region is large enough. Images without kept maps that
            cannot be read are left out.
        """
        settings = regions or self.regions

        def run(some: Sequence[IndexedImage]) -> dict[str, Match | None]:
            # Each thread reads what it matches: reading overlaps with computing, and maps stay in
            # the core's cache.
            if stop():
                return {}
            return self._match_maps(query, settings, some, self.kept_maps(some))

        def size(image: IndexedImage) -> Size:
            return working_size(Size(image.width, image.height), self.method.settings)

        matches: dict[str, Match | None] = {}
        for found in self._matchers.map(run, _batches(images, size)):
            matches |= found
        missing = [p for p in images if p.id not in matches]
        if missing and self._encode is not None and not stop():
            again = missing[: self._max_encoded]
            matches |= self._match_maps(query, settings, again, self._encode(again))
        return matches

    def refined(
        self,
        query: QueryDescription,
        boxes: Sequence[tuple[IndexedImage, Box]],
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Box]:
        """Fit the boxes of images to the object; see `descriptors.refining`.

        Args:
            query: what was searched.
            boxes: images of different ids, each with the box to start from.
            stop: called before each image; once it returns True the rest is left out.

        Returns:
            Boxes by id; images without kept maps that cannot be read are left out.
        """
        encoder = self.method.encoder
        maps = self.maps_of([image for image, _ in boxes], self._max_encoded)

        def fit(one: tuple[IndexedImage, Box]) -> dict[str, Box]:
            image, box = one
            if image.id not in maps or stop():
                return {}
            encoded = stack_kept([maps[image.id]], encoder.device, encoder.kept_dtype)
            size = Size(image.width, image.height)
            return {image.id: refine_box(self.method, query, encoded, size, box, self.regions)}

        return {i: box for fitted in self._matchers.map(fit, boxes) for i, box in fitted.items()}

    def maps_of(
        self, images: Sequence[IndexedImage], max_encoded: int | None = None
    ) -> dict[str, KeptMaps]:
        """Kept maps of images; images without are encoded, if they can be read, all if None."""
        kept = self.kept_maps(images)
        missing = [p for p in images if p.id not in kept][:max_encoded]
        if missing and self._encode is not None:
            kept |= self._encode(missing)
        return kept

    def encoded_of(self, image: IndexedImage) -> Encoded | None:
        """As `maps_of` for one image, as a batch of one; None if there are none."""
        maps = self.maps_of([image]).get(image.id)
        encoder = self.method.encoder
        return None if maps is None else stack_kept([maps], encoder.device, encoder.kept_dtype)

    def kept_maps(self, images: Sequence[IndexedImage]) -> dict[str, KeptMaps]:
        """Kept maps of images, where they were made from the same bytes."""
        if self.features is None:
            return {}
        return self.features.get({p.id: p.digest for p in images})

    def close(self) -> None:
        """Stop the threads."""
        self._matchers.shutdown()

    def _match_maps(
        self,
        query: QueryDescription,
        settings: RegionSettings,
        images: Sequence[IndexedImage],
        maps: Mapping[str, KeptMaps],
    ) -> dict[str, Match | None]:
        encoder, sizes = self.method.encoder, {p.id: Size(p.width, p.height) for p in images}
        matches: dict[str, Match | None] = {}
        if settings.coarse_maps:
            # Maps may have been kept at full resolution, or encoded just now.
            maps = {i: kept.averaged() for i, kept in maps.items()}
        for ids in _batches(maps, lambda i: maps[i].shape):
            encoded = stack_kept([maps[i] for i in ids], encoder.device, encoder.kept_dtype)
            found = self.method.match_regions(query, encoded, settings)
            matches |= {
                i: None if match is None else _in_pixels(match, sizes[i], encoded)
                for i, match in zip(ids, found, strict=True)
            }
        return matches


def _batches(items: Iterable[_Item], key: Callable[[_Item], Hashable]) -> Iterator[list[_Item]]:
    """Batches of items that have the same key."""
    groups: dict[Hashable, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    for group in groups.values():
        for start in range(0, len(group), _MATCH_BATCH):
            yield group[start : start + _MATCH_BATCH]


def _in_pixels(match: RegionMatch, size: Size, encoded: Encoded) -> Match:
    grid = encoded.grid(encoded.finest)
    tried = tuple((box_of_region(region, size, grid), score) for region, score in match.tried)
    box = box_of_region(match.region, size, grid)
    return Match(match.score, box, match.descriptor, tried, match.whole)
