"""The same intermediates as `real_steps`, by the loops of `reference`.

From the real code come only the maps of the network (its convolutions are torch's), its classifier
and the fitted whitening; everything after that is done here once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tests.golden import reference as ref
from tests.golden.cases import ALPHA
from tests.golden.real_steps import Steps, method_of
from tests.support.images import rgb_image
from tests.support.tiny_network import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from descriptors.method import Method
    from tests.golden.cases import Case


class Maps(NamedTuple):
    """What the network gives for one image, as plain numbers."""

    layers: list[np.ndarray]
    strides: list[int]
    evidence: np.ndarray
    working: tuple[int, int]


class Slow:
    """The method in loops, with the numbers of one real `Method`."""

    def __init__(self, method: Method) -> None:
        self.settings = method.settings
        self.names = [layer.name for layer in method.settings.layers]
        self.weight = method.encoder.weight.double().numpy()
        self.bias = method.encoder.bias.double().numpy()
        self.whitenings = [
            (layer.mean.double().numpy(), layer.projection.double().numpy())
            for layer in method.whitening.layers
        ]
        self._encoder = method.encoder
        self._resized: dict[tuple[int, int, int], tuple[Maps, np.ndarray]] = {}

    def maps(self, image: Image.Image) -> Maps:
        encoded = self._encoder.encode(batch_of(self._encoder, [image]))
        return Maps(
            [maps.values()[0].double().numpy() for maps in encoded.features],
            [maps.stride for maps in encoded.features],
            encoded.evidence.values()[0].double().numpy(),
            tuple(encoded.working),
        )

    def cams(self, maps: Maps, classes: Sequence[int]) -> list[np.ndarray]:
        return [ref.cam(maps.evidence, self.weight[c]) for c in classes]

    def resized(self, maps: Maps, c: int, layer: int) -> np.ndarray:
        """The CAM of a class on the grid of a layer; kept, since every region cuts it."""
        key = (id(maps), c, layer)
        if key not in self._resized:
            cam = ref.cam(maps.evidence, self.weight[c])
            on_grid = ref.resize(cam, *maps.layers[layer].shape[1:])
            self._resized[key] = (maps, on_grid)
        return self._resized[key][1]

    def class_vectors(
        self, maps: Maps, classes: Sequence[int], cuts: Sequence[ref.Cells] | None = None
    ) -> list[list[np.ndarray]]:
        """A list a layer of a vector a class; of one region of each layer, or all of it."""
        settings, result = self.settings, []
        for i, features in enumerate(maps.layers):
            height, width = features.shape[1:]
            cut = cuts[i] if cuts else (0, 0, width, height)
            vectors = []
            for c in classes:
                cells = ref.cell_weights(
                    ref.cut(self.resized(maps, c, i), cut),
                    floor=settings.weight_floor,
                    centring=settings.centring_prior,
                )
                vectors.append(ref.class_vector(ref.cut(features, cut), cells, settings.power))
            result.append(vectors)
        return result

    def whitened(self, vectors: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        return [
            [ref.whiten(v, *whitening) for v in of_layer]
            for of_layer, whitening in zip(vectors, self.whitenings, strict=True)
        ]

    def descriptor(
        self, maps: Maps, classes: Sequence[int], cuts: Sequence[ref.Cells] | None = None
    ) -> np.ndarray:
        whitened = self.whitened(self.class_vectors(maps, classes, cuts))
        return ref.join([ref.aggregate(of_layer) for of_layer in whitened])


def reference_steps(case: Case) -> Steps:
    """All steps by loops, under the names of `real_steps`."""
    slow = Slow(method_of(case.name.split("-")[0]))
    maps = slow.maps(case.query)
    scores = ref.scores(maps.evidence, slow.weight, slow.bias)
    classes = ref.top_classes(scores, slow.settings.n_classes)
    steps: Steps = {"scores": scores, "classes": np.array(classes)}
    steps |= _maps(slow, maps, classes)
    steps |= _vectors(slow, maps, classes)
    steps |= _query(slow, maps, scores, case)
    steps |= _hits(slow, steps, case)
    return steps


def _maps(slow: Slow, maps: Maps, classes: list[int]) -> Steps:
    cams = slow.cams(maps, classes)
    steps = {"cams": np.array(cams)}
    settings = slow.settings
    for i, (name, features) in enumerate(zip(slow.names, maps.layers, strict=True)):
        resized = [slow.resized(maps, c, i) for c in classes]
        floor, centring = settings.weight_floor, settings.centring_prior
        cells = [ref.cell_weights(r, floor=floor, centring=centring) for r in resized]
        steps[f"resized.{name}"] = np.array(resized)
        steps[f"cell_weights.{name}"] = np.array(cells)
        steps[f"channel_weights.{name}"] = ref.channel_weights(features)
    return steps


def _vectors(slow: Slow, maps: Maps, classes: list[int]) -> Steps:
    steps = {}
    vectors = slow.class_vectors(maps, classes)
    for name, raw, whitened in zip(slow.names, vectors, slow.whitened(vectors), strict=True):
        steps[f"class_vectors.{name}"] = np.array(raw)
        steps[f"whitened.{name}"] = np.array(whitened)
        steps[f"aggregated.{name}"] = ref.aggregate(whitened)
    steps["descriptor"] = slow.descriptor(maps, classes)
    return steps


def _query(slow: Slow, maps: Maps, scores: np.ndarray, case: Case) -> Steps:
    n_classes, n_again = slow.settings.n_classes, case.variant.regions.n_classes
    steps: Steps = {}
    cuts = None
    if case.box is not None:
        crop = slow.maps(rgb_image(case.query).crop(case.box).image)
        scores = ref.scores(crop.evidence, slow.weight, slow.bias)
        cuts = [
            ref.region_of_box(
                case.box.as_list(),
                case.query.size,
                maps.working,
                stride,
                (features.shape[2], features.shape[1]),
            )
            for features, stride in zip(maps.layers, maps.strides, strict=True)
        ]
        steps |= {f"query.cut.{n}": np.array(c) for n, c in zip(slow.names, cuts, strict=True)}
        best = ref.top_classes(scores, n_classes)
        vectors = slow.class_vectors(maps, best, cuts)
        for name, raw in zip(slow.names, vectors, strict=True):
            steps[f"query.class_vectors.{name}"] = np.array(raw)
    classes = ref.top_classes(scores, max(n_classes, n_again))
    steps["query.classes"] = np.array(classes)
    steps["query.descriptor"] = slow.descriptor(maps, classes[:n_classes], cuts)
    steps["query.region_descriptor"] = slow.descriptor(maps, classes[:n_again], cuts)
    return steps


def _hits(slow: Slow, query: Steps, case: Case) -> Steps:
    regions = case.variant.regions
    classes = [int(c) for c in query["query.classes"][: regions.n_classes]]
    every = [slow.maps(hit) for hit in case.hits]
    online = [slow.descriptor(maps, classes) for maps in every]
    steps: Steps = {"hits.online": np.array(online)}
    found = []
    for i, maps in enumerate(every):
        steps |= _hit(slow, maps, classes, query["query.region_descriptor"], case, i)
        found.append(steps.get(f"hits.{i}.best_descriptor", online[i]))
    steps["expanded"] = ref.expand(query["query.descriptor"], found)
    steps["expanded.alpha"] = ref.expand(query["query.descriptor"], found, ALPHA)
    return steps


def _hit(
    slow: Slow, maps: Maps, classes: list[int], query: np.ndarray, case: Case, number: int
) -> Steps:
    regions = case.variant.regions
    finest = min(range(len(maps.strides)), key=lambda i: maps.strides[i])
    height, width = maps.layers[finest].shape[1:]
    heat = ref.heat_map([slow.resized(maps, c, finest) for c in classes])
    least = regions.min_side / maps.strides[finest]
    proposals = ref.propose(heat, regions.thresholds, least)
    if regions.whole_image and (0, 0, width, height) not in proposals:
        proposals.append((0, 0, width, height))
    ratios = [stride // maps.strides[finest] for stride in maps.strides]
    coarse = [ref.on_coarser_grid(region, max(ratios)) for region in proposals]
    steps = {
        "heat": heat,
        "proposals": np.array(proposals, dtype=int).reshape(-1, 4),
        "coarse": np.array(coarse, dtype=int).reshape(-1, 4),
    }
    if proposals:

        def describe(region: ref.Cells) -> np.ndarray:
            return slow.descriptor(maps, classes, [ref.on_coarser_grid(region, r) for r in ratios])

        best, score, cosines = ref.best_match(query, proposals, describe)
        steps |= {"cosines": np.array(cosines), "best": np.array(best)}
        steps |= {"score": np.array([score]), "best_descriptor": describe(best)}
    return {f"hits.{number}.{name}": value for name, value in steps.items()}
