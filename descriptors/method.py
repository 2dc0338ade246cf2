"""The whole method: images in, descriptors and region matches out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from descriptors.aggregation import aggregate, join_layers, region_class_vectors
from descriptors.arrays import (
    Box,
    Described,
    Encoded,
    QueryDescription,
    Size,
    region_of_box,
)
from descriptors.cams import activation_maps, class_scores, top_classes
from descriptors.classes import class_names
from descriptors.encoder import to_working_size
from descriptors.errors import ArtifactError, SettingsError
from descriptors.images import RgbImage
from descriptors.regions import (
    RegionMatch,
    best_match,
    boxes_on_layers,
    on_layers,
    query_heat,
    regions_to_try,
    stack_regions,
)
from descriptors.windows import window_boxes, window_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.encoder import Encoder
    from descriptors.settings import RegionSettings
    from descriptors.whitening import Whitening

__all__ = ["Method"]


class Method:
    """Encoder, whitening and settings: everything needed to compute a descriptor."""

    def __init__(self, encoder: Encoder, whitening: Whitening) -> None:
        """Check that the parts fit together.

        Raises:
            ArtifactError: the whitening was fitted for other settings or weights, or there are
                no classes.
            SettingsError: the theme has a class that does not exist.
        """
        self.encoder = encoder
        if whitening.classes is not None:
            self.encoder = encoder.with_classes(whitening.classes)
        self.settings = encoder.settings
        self.whitening = whitening.to(encoder.device)
        if whitening.vector_digest != self.settings.vector_digest():
            raise ArtifactError(
                "The whitening was fitted for other settings than these "
                f"({whitening.fitted_on}): fit one with `camsearch fit`."
            )
        if whitening.weights_digest != encoder.loaded.weights_digest:
            raise ArtifactError(
                f"The whitening was fitted for other weights of {encoder.loaded.name} "
                f"({whitening.fitted_on}): fit one with `camsearch fit`."
            )
        count = len(self.encoder.weight)
        if not count:
            raise ArtifactError(
                f"{encoder.loaded.name} has no class labels, and this whitening no learned "
                "classes: fit one with `camsearch fit --classes-from learned`."
            )
        unknown = [c for c in self.settings.theme if c >= count]
        if unknown:
            raise SettingsError(
                f"The theme has class {unknown[0]}, but there are {count} classes, counted from "
                "0: choose among them."
            )

    def fingerprint(self) -> str:
        """Digest of settings, weights and whitening, 64 hex digits; only equal ones compare."""
        weights = self.encoder.loaded.weights_digest
        parts = self.settings.digest() + weights + self.whitening.digest()
        return hashlib.sha256(parts.encode()).hexdigest()

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class: learned ones, or ImageNet's if there are as many; else none."""
        if self.whitening.classes is not None:
            return self.whitening.classes.shown_names
        names = class_names()
        return names if len(names) == len(self.encoder.weight) else ()

    def encode(self, image: RgbImage) -> Encoded:
        """The maps of one image, as a batch of one."""
        pixels = to_working_size(image, self.settings)
        return self.encoder.encode(self.encoder.prepare([pixels]))

    @torch.inference_mode()
    def describe_images(self, batch: UInt8[Tensor, "B 3 h w"]) -> Described:
        """Descriptors and windows of a batch of images of one shape for the index (OfA or theme)."""
        return self.with_windows(self.describe_encoded(self.encoder.encode(batch)))

    @torch.inference_mode()
    def with_windows(self, described: Described) -> Described:
        """A copy with the windows of the settings, each described like the box of a query.

        Source:
            docs/method.md section 11.
        """
        if not self.settings.windows:
            return described
        encoded, encoder = self.encoder.ready(described.encoded), self.encoder
        boxes = window_boxes(self.settings.windows, encoded.working)[1:]
        scores = window_scores(boxes, encoded, encoder.weight, encoder.bias)
        classes = self._classes(scores.flatten(0, 1)).unflatten(0, scores.shape[:2])
        regions = boxes_on_layers(boxes, encoded.working, encoded)
        each = tuple(of_layer.expand(len(encoded), -1, -1) for of_layer in regions)
        within = self.describe_classes(encoded, classes, each)
        windows = torch.cat([described.descriptors[:, None], within], dim=1)
        return replace(described, windows=windows)

    @torch.inference_mode()
    def describe_encoded(self, encoded: Encoded) -> Described:
        """Descriptors from maps, with each image's best classes or the theme's.

        Source:
            docs/method.md section 3.
        """
        classes = self._classes(encoded.scores)
        probabilities = encoded.scores.softmax(dim=1).gather(1, classes)
        descriptors = self.describe_classes(encoded, classes)[:, 0]
        return Described(descriptors, classes, probabilities, encoded)

    @torch.inference_mode()
    def describe_classes(
        self,
        encoded: Encoded,
        classes: Int[Tensor, "B N"] | Int[Tensor, "B M N"],
        regions: tuple[Int[Tensor, "B M 4"], ...] | None = None,
        maps: Float[Tensor, "B N H W"] | None = None,
        kept: Int[Tensor, " V"] | None = None,
    ) -> Float[Tensor, "_ _ D"]:
        """Descriptors of regions or whole images with given classes (OnA: the query's).

        Arguments as for `region_class_vectors`; returns unit rows, or zero rows.
        """
        weights = None
        vectors = region_class_vectors(self.encoder, encoded, classes, regions, maps, kept)
        if self.settings.probability_weights:
            weights = encoded.scores.softmax(dim=1).gather(1, classes).sqrt()[:, None]
            if kept is not None and regions is not None:
                weights = weights[kept // regions[0].shape[1], 0][None]
            weights = weights.expand(vectors[0].shape[:3])
        return join_layers(
            [
                aggregate(whiten(v, self.encoder.dtype), weights)
                for whiten, v in zip(self.whitening.layers, vectors, strict=True)
            ]
        )

    @torch.inference_mode()
    def describe_query(
        self, image: RgbImage, regions: RegionSettings, box: Box | None = None
    ) -> QueryDescription:
        """Describe a query image; its classes are predicted on the box if there is one.

        Raises:
            RequestError: the box lies outside the image.

        Source:
            docs/method.md section 4.
        """
        return self.describe_queries([(image, box)], regions)[0]

    @torch.inference_mode()
    def describe_queries(
        self, queries: Sequence[tuple[RgbImage, Box | None]], regions: RegionSettings
    ) -> list[QueryDescription]:
        """Describe several query images; those of one shape are encoded together.

        Raises:
            RequestError: a box lies outside its image.
        """
        crops = [image.crop(box) for image, box in queries if box is not None]
        encoded = self._encode_each([image for image, _ in queries] + crops)
        of_crops = iter(encoded[len(queries) :])
        return [
            self._query(
                maps, maps.scores if box is None else next(of_crops).scores, p.size, regions, box
            )
            for (p, box), maps in zip(queries, encoded, strict=False)
        ]

    def _encode_each(self, images: Sequence[RgbImage]) -> list[Encoded]:
        """The maps of each image, as batches of one; images of one shape run together."""
        pixels = [to_working_size(image, self.settings) for image in images]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, one in enumerate(pixels):
            by_shape.setdefault(tuple(one.shape), []).append(i)
        encoded: dict[int, Encoded] = {}
        for places in by_shape.values():
            together = self.encoder.encode(self.encoder.prepare([pixels[i] for i in places]))
            encoded |= {i: together[row : row + 1] for row, i in enumerate(places)}
        return [encoded[i] for i in range(len(images))]

    @torch.inference_mode()
    def describe_kept_query(
        self, encoded: Encoded, size: Size, regions: RegionSettings, box: Box | None = None
    ) -> QueryDescription:
        """Describe a query from kept maps, without reading the image or running the network.

        Convention:
            The classes of a box are predicted from the evidence within it, instead of from
            the cropped image.
        """
        scores = encoded.scores
        if box is not None:
            part = region_of_box(box.inside(size), size, encoded.grid(encoded.evidence.cells))
            evidence = encoded.evidence.cut(part)
            scores = class_scores(evidence, self.encoder.weight, self.encoder.bias)
        return self._query(encoded, scores, size, regions, box)

    @torch.inference_mode()
    def match_regions(
        self, query: QueryDescription, encoded: Encoded, settings: RegionSettings
    ) -> list[RegionMatch | None]:
        """For each hit of a batch the region most similar to the query.

        Args:
            query: from `describe_query` with the same settings.
            encoded: maps of the hits, of one shape.
            settings: without thresholds, only the whole image is tried (OnA).

        Returns:
            One match per hit; None if no region is large enough.

        Source:
            paper section 5.1; docs/method.md section 6.
        """
        encoded = self.encoder.ready(encoded)
        classes = query.classes[: settings.n_classes].expand(len(encoded), -1)
        maps = activation_maps(encoded.evidence, self.encoder.weight, classes)
        proposals = regions_to_try(encoded, maps, settings)
        if not any(proposals):
            return [None] * len(proposals)
        # A constant number of rows, because the first product of each shape is slow.
        most = len(settings.thresholds) + settings.whole_image
        finest = stack_regions(proposals, self.encoder.device, most)
        kept = [
            row * most + i for row, regions in enumerate(proposals) for i in range(len(regions))
        ]
        descriptors = self.describe_classes(
            encoded,
            classes,
            on_layers(encoded, finest),
            maps,
            torch.tensor(kept, device=self.encoder.device),
        )[0]
        scores = (descriptors @ query.region_descriptor).tolist()
        ends = accumulate(len(regions) for regions in proposals)
        owns = [slice(end - len(r), end) for r, end in zip(proposals, ends, strict=True)]
        return [
            best_match(regions, scores[own], descriptors[own], encoded) if regions else None
            for regions, own in zip(proposals, owns, strict=True)
        ]

    @torch.inference_mode()
    def query_heat(
        self, encoded: Encoded, classes: Int[Tensor, "B N"], settings: RegionSettings
    ) -> Float[Tensor, "B H W"]:
        """Heat maps for the query's best classes, on the finest layer's grid."""
        encoded = self.encoder.ready(encoded)
        best = classes[:, : settings.heat_map_classes]
        maps = activation_maps(encoded.evidence, self.encoder.weight, best)
        return query_heat(encoded, maps, settings)

    def _classes(self, scores: Float[Tensor, "B C"]) -> Int[Tensor, "B N"]:
        if self.settings.theme:
            theme = torch.tensor(self.settings.theme, device=scores.device)
            return theme.expand(scores.shape[0], -1)
        return top_classes(scores, self.settings.n_classes)

    def _query(
        self,
        encoded: Encoded,
        scores: Float[Tensor, "1 C"],
        size: Size,
        regions: RegionSettings,
        box: Box | None,
    ) -> QueryDescription:
        classes = top_classes(scores, max(self.settings.n_classes, regions.n_classes))
        cut = None if box is None else boxes_on_layers([box.inside(size)], size, encoded)
        first = self.describe_classes(encoded, self._classes(scores), cut)[0, 0]
        again = self.describe_classes(encoded, classes[:, : regions.n_classes], cut)[0, 0]
        return QueryDescription(first, again, classes[0], size, box)
