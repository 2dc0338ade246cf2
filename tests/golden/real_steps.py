"""Every intermediate of the real code for one case, by name."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from descriptors.aggregation import active_share, aggregate, channel_weights, region_class_vectors
from descriptors.arrays import Box, Region, region_of_box
from descriptors.cams import activation_maps, resize_maps, top_classes
from descriptors.encoder import to_working_size
from descriptors.expansion import expand
from descriptors.regions import on_coarser_grid, regions_to_try, stack_regions
from tests.golden.cases import ALPHA, VARIANTS
from tests.support.cells import cell_weights
from tests.support.images import rgb_image
from tests.support.tiny_network import batch_of, tiny_method

if TYPE_CHECKING:
    from collections.abc import Iterable

    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method
    from tests.golden.cases import Case

Steps = dict[str, np.ndarray]


@lru_cache
def method_of(variant: str) -> Method:
    """The real method of one variant; nothing in it changes between cases."""
    return tiny_method(VARIANTS[variant].method)


def real_steps(case: Case) -> Steps:
    """All steps of the real code, in the order in which docs/method.md tells them."""
    method = method_of(case.name.split("-")[0])
    encoded = method.encoder.encode(batch_of(method.encoder, [case.query]))
    query = method.describe_query(rgb_image(case.query), case.variant.regions, case.box)
    steps: Steps = {"working": _array(to_working_size(rgb_image(case.query), method.settings))}
    steps |= _maps(method, encoded)
    steps |= _vectors(method, encoded)
    steps |= _query(method, encoded, query, case.box)
    steps |= _hits(method, query, case)
    return steps


def _maps(method: Method, encoded: Encoded) -> Steps:
    settings, encoder = method.settings, method.encoder
    classes = top_classes(encoded.scores, settings.n_classes)
    maps = activation_maps(encoded.evidence, encoder.weight, classes)
    steps = {
        "evidence": _array(encoded.evidence.values()[0]),
        "scores": _array(encoded.scores[0]),
        "classes": _array(classes[0]),
        "cams": _array(maps[0]),
    }
    for layer, features in zip(settings.layers, encoded.features, strict=True):
        height, width = features.levels.shape[2:]
        resized = resize_maps(maps, height, width)
        weights = cell_weights(resized, settings.weight_floor, centring=settings.centring_prior)
        steps[f"features.{layer.name}"] = _array(features.values()[0])
        steps[f"resized.{layer.name}"] = _array(resized[0])
        steps[f"cell_weights.{layer.name}"] = _array(weights[0])
        share = active_share(features, None)
        steps[f"channel_weights.{layer.name}"] = _array(channel_weights(share)[0, 0])
    return steps


def _vectors(method: Method, encoded: Encoded) -> Steps:
    classes = top_classes(encoded.scores, method.settings.n_classes)
    vectors = region_class_vectors(method.encoder, encoded, classes)
    steps = {}
    layers = zip(method.settings.layers, vectors, method.whitening.layers, strict=True)
    for layer, of_layer, whitening in layers:
        whitened = whitening(of_layer)
        steps[f"class_vectors.{layer.name}"] = _array(of_layer[0, 0])
        steps[f"whitened.{layer.name}"] = _array(whitened[0, 0])
        steps[f"aggregated.{layer.name}"] = _array(aggregate(whitened)[0, 0])
    steps["descriptor"] = _array(method.describe_encoded(encoded).descriptors[0])
    return steps


def _query(method: Method, encoded: Encoded, query: QueryDescription, box: Box | None) -> Steps:
    steps = {
        "query.classes": _array(query.classes),
        "query.descriptor": _array(query.descriptor),
        "query.region_descriptor": _array(query.region_descriptor),
    }
    if box is None:
        return steps
    cuts = []
    for layer, features in zip(method.settings.layers, encoded.features, strict=True):
        cut = region_of_box(box, query.image, encoded.grid(features.cells))
        cuts.append(torch.tensor([[cut]]))
        steps[f"query.cut.{layer.name}"] = np.array(cut)
    classes = query.classes[None, : method.settings.n_classes]
    vectors = region_class_vectors(method.encoder, encoded, classes, tuple(cuts))
    for layer, of_layer in zip(method.settings.layers, vectors, strict=True):
        steps[f"query.class_vectors.{layer.name}"] = _array(of_layer[0, 0])
    return steps


def _hits(method: Method, query: QueryDescription, case: Case) -> Steps:
    regions = case.variant.regions
    encoded = method.encoder.encode(batch_of(method.encoder, case.hits))
    classes = query.classes[: regions.n_classes].expand(len(case.hits), -1)
    heat = method.query_heat(encoded, classes, regions)
    maps = activation_maps(encoded.evidence, method.encoder.weight, classes)
    proposals = regions_to_try(encoded, maps, regions)
    matches = method.match_regions(query, encoded, regions)
    online = method.describe_classes(encoded, classes)[:, 0]
    found = [m.descriptor if m else online[i] for i, m in enumerate(matches)]
    steps: Steps = {"hits.online": _array(online)}
    for i, match in enumerate(matches):
        steps[f"hits.{i}.heat"] = _array(heat[i])
        steps[f"hits.{i}.proposals"] = _rows(proposals[i])
        steps[f"hits.{i}.coarse"] = _coarse(proposals[i], encoded)
        if match:
            steps[f"hits.{i}.cosines"] = np.array([score for _, score in match.tried])
            steps[f"hits.{i}.best"] = np.array([*match.region])
            steps[f"hits.{i}.score"] = np.array([match.score])
            steps[f"hits.{i}.best_descriptor"] = _array(match.descriptor)
    steps["expanded"] = _array(expand(query.descriptor, torch.stack(found)))
    steps["expanded.alpha"] = _array(expand(query.descriptor, torch.stack(found), ALPHA))
    return steps


def _coarse(proposals: list[Region], encoded: Encoded) -> np.ndarray:
    """The proposals on the grid of the coarsest layer."""
    if not proposals:
        return _rows([])
    coarsest = max(encoded.features, key=lambda maps: maps.stride)
    ratio = coarsest.stride // encoded.finest.stride
    height, width = coarsest.levels.shape[2:]
    return _array(on_coarser_grid(stack_regions([proposals]), ratio, height, width)[0])


def _rows(regions: Iterable[Region]) -> np.ndarray:
    return np.array(list(regions), dtype=int).reshape(-1, 4)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
