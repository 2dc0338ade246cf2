"""R-MAC: maxima over a grid of regions; its own re-ranking and expansion by the best window."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors.arrays import Region
from evaluation.baselines.dense import (
    Rankings,
    first_hits,
    ms_per_query,
    ranked,
    search_descriptors,
    sorted_heads,
)
from evaluation.baselines.localisation import Localiser, distinct_windows
from evaluation.baselines.maps import LayerMaps, cut_to, stacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from descriptors.arrays import FeatureMaps
    from evaluation.baselines.dense import Bench
    from evaluation.trials import DatasetImage, DatasetQuery

__all__ = ["r_mac", "r_mac_regions", "search_and_localise"]

_SCALES, _OVERLAP, _MAX = 3, 0.4, 7


def r_mac(layer: LayerMaps) -> Float[Tensor, "B V K"]:
    """R-MAC: the maximum of each channel in each of the regions of three scales.

    Source:
        Tolias et al. 2016, "Particular Object Retrieval with Integral Max-Pooling of CNN
        Activations", section 3.2; each region is whitened separately, then they are summed.
    """
    return layer.highest(r_mac_regions(layer.height, layer.width))


def r_mac_regions(height: int, width: int) -> list[Region]:
    """The square regions of R-MAC on a map of this many cells.

    At scale l = 1, 2, 3 a region is 2 min(H, W) / (l + 1) cells wide (rounded down, at
    least 1); there are l of them along the shorter side and l + m - 1 along the longer, evenly
    spread. m (at least 2 if the map is not square) makes neighbours at scale 1 overlap by as
    close to 40 % as possible.

    Source:
        Tolias et al. 2016, section 3.2.
    """
    shorter, longer = min(height, width), max(height, width)
    more = 0 if shorter == longer else _regions_along(shorter, longer) - 1
    regions = []
    for scale in range(1, _SCALES + 1):
        side = max(1, 2 * shorter // (scale + 1))
        downs = _starts(height, side, scale + (more if height > width else 0))
        acrosses = _starts(width, side, scale + (more if width > height else 0))
        regions += [Region(x, y, x + side, y + side) for y in downs for x in acrosses]
    return regions


def _regions_along(shorter: int, longer: int) -> int:
    """How many squares along the longer side overlap by as close to 40 % as possible."""

    def misses(count: int) -> float:
        step = (longer - shorter) / (count - 1)
        return abs(1 - step / shorter - _OVERLAP)

    return min(range(2, _MAX + 1), key=misses)


def _starts(cells: int, side: int, count: int) -> list[int]:
    """Where `count` ranges of `side` cells begin, evenly spread; each start once."""
    if count == 1:
        return [(cells - side) // 2]
    return sorted({i * (cells - side) // (count - 1) for i in range(count)})


_EXPAND = 5
_THREADS = os.cpu_count() or 1


def search_and_localise(bench: Bench, window: int = 100) -> Iterator[Rankings]:
    """Search by descriptors, then R100 and R100+QE5 (or another R) as Tolias et al. do.

    The query is located in its first hits by MAC, and the hits are sorted by the cosine of the
    R-MAC of their window with the query's. For QE5 the query is summed with the R-MAC of the five
    best windows, and the same hits are sorted once more. Later hits keep their order.

    Convention:
        An image is read once for all queries that have it among their first hits; the
        milliseconds are that time divided by the queries.

    Source:
        Tolias et al. 2016, sections 4 and 5; R = 1000 there.
    """
    yield from search_descriptors(bench)
    started = time.perf_counter()
    rows = ranked(bench.queries @ bench.gallery.T, bench.leave_out)
    regions = _best_regions(bench, first_hits(rows, window))
    scores = torch.einsum("qrd,qd->qr", regions, bench.queries)
    once = ms_per_query(started, rows)
    yield Rankings(f"R{window}", sorted_heads(rows, scores), once)

    started = time.perf_counter()
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :_EXPAND]
    found = regions.gather(1, first[:, :, None].expand(-1, -1, regions.shape[2]))
    expanded = functional.normalize(bench.queries + found.sum(dim=1), dim=1)
    again = sorted_heads(rows, torch.einsum("qrd,qd->qr", regions, expanded))
    yield Rankings(f"R{window}+QE{_EXPAND}", again, once + ms_per_query(started, rows))


def _best_regions(bench: Bench, window: Int[Tensor, "Q R"]) -> Float[Tensor, "Q R D"]:
    """R-MAC of the window of each hit in which the query is found."""
    macs, ratios = _asked(bench)
    askers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for query, hits in enumerate(window.tolist()):
        for rank, row in enumerate(hits):
            askers[row].append((query, rank))
    rows = {bench.trial.gallery[row].file: row for row in askers}
    found = torch.zeros(*window.shape, bench.queries.shape[1])

    def locate(image: DatasetImage, features: Sequence[FeatureMaps]) -> None:
        queries, ranks = np.array(askers[rows[image.file]]).T
        localiser = Localiser.of(features)
        windows = localiser.find(macs[queries], ratios[queries])
        found[queries, ranks] = _described(bench, localiser, windows)

    with ThreadPoolExecutor(_THREADS, "localise") as pool:
        for batch, maps in bench.encoded.batches([bench.trial.gallery[row] for row in askers]):
            apart = [maps[at : at + 1].features for at in range(len(batch))]
            list(pool.map(locate, batch, apart))
    return found


def _asked(bench: Bench) -> tuple[Float[Tensor, "Q K"], Float[np.ndarray, " Q"]]:
    """MAC and width / height of each query."""
    asked: dict[object, list[tuple[int, DatasetQuery]]] = defaultdict(list)
    for row, query in enumerate(bench.trial.queries):
        asked[query.image].append((row, query))
    macs: dict[int, Tensor] = {}
    ratios = np.ones(len(bench.trial.queries))
    images = list(dict.fromkeys(query.image for query in bench.trial.queries))
    for batch, maps in bench.encoded.batches(images):
        for at, image in enumerate(batch):
            for row, query in asked[image]:
                one = maps[at : at + 1]
                cut = one.features if query.box is None else cut_to(one, image, query.box)
                localiser = Localiser.of(cut)
                finest = localiser.finest
                whole = np.array([[0, 0, finest.width, finest.height]])
                macs[row] = localiser.vectors(whole)[0]
                ratios[row] = finest.width / finest.height
    return torch.stack([macs[row] for row in range(len(macs))]), ratios


def _described(
    bench: Bench, localiser: Localiser, windows: Int[np.ndarray, "q 4"]
) -> Float[Tensor, "q D"]:
    """The R-MAC of windows of one image."""
    distinct, rows = distinct_windows(windows)
    layers = []
    for layer in localiser.layers:
        inside = [_r_mac_inside(region) for region in localiser.cut(distinct, layer)]
        vectors = layer.highest([region for regions in inside for region in regions])[0]
        layers.append(vectors.split([len(regions) for regions in inside]))
    described = bench.describe(stacked(zip(*layers, strict=True))).cpu()
    return described[rows]


def _r_mac_inside(window: Int[np.ndarray, " 4"]) -> list[Region]:
    """The R-MAC regions of a window, in cells of the whole map."""
    x0, y0, x1, y1 = window.tolist()
    return [
        Region(x0 + r.x0, y0 + r.y0, x0 + r.x1, y0 + r.y1) for r in r_mac_regions(y1 - y0, x1 - x0)
    ]
