"""The method (docs/method.md) written down once more, slowly: plain loops, float64, no torch.

It was written from a description alone and is not to be changed to follow the sources: where the two
disagree, one of them misreads the method. Arrays: features ``X[k][i][j]``, evidence ``E[j][i][j]``,
classifier ``W[c][j]``; a region is ``(x0, y0, x1, y1)`` in cells, half-open.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Cells = tuple[int, int, int, int]

TWO_BEST = 2
FLOOR = 0.1


def l2(vector: np.ndarray) -> np.ndarray:
    """The vector by its length; zero stays zero."""
    length = math.sqrt(sum(float(v) * float(v) for v in vector))
    return vector / length if length > 0 else np.zeros(len(vector))


# -- section 1: scores and class activation maps ------------------------------------------------


def scores(evidence: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Global average pooling of the evidence, times the classifier."""
    channels, height, width = evidence.shape
    pooled = np.zeros(channels)
    for k in range(channels):
        for i in range(height):
            for j in range(width):
                pooled[k] += evidence[k, i, j] / (height * width)
    result = np.zeros(len(weight))
    for c in range(len(weight)):
        for k in range(channels):
            result[c] += weight[c, k] * pooled[k]
        result[c] += bias[c]
    return result


def top_classes(of: np.ndarray, count: int) -> list[int]:
    """Classes by falling score."""
    return sorted(range(len(of)), key=lambda c: (-of[c], c))[:count]


def raw_cam(evidence: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The sum of the evidence maps, each times the class's weight of it."""
    channels, height, width = evidence.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for k in range(channels):
                result[i, j] += row[k] * evidence[k, i, j]
    return result


def cam(evidence: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Divided by its maximum, negatives 0; all zero if the maximum is not positive."""
    raw = raw_cam(evidence, row)
    highest = max(raw.ravel())
    result = np.zeros(raw.shape)
    if highest <= 0:
        return result
    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            result[i, j] = max(0.0, raw[i, j] / highest)
    return result


def resize(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, cell centres at half positions, edges held (align_corners=False)."""
    result = np.zeros((height, width))
    for i in range(height):
        top, bottom, below = _neighbours(i, height, grid.shape[0])
        for j in range(width):
            left, right, beyond = _neighbours(j, width, grid.shape[1])
            upper = grid[top, left] * (1 - beyond) + grid[top, right] * beyond
            lower = grid[bottom, left] * (1 - beyond) + grid[bottom, right] * beyond
            result[i, j] = upper * (1 - below) + lower * below
    return result


def _neighbours(position: int, target: int, source: int) -> tuple[int, int, float]:
    """The two cells around a position of the new grid, and the share of the second."""
    at = (position + 0.5) * source / target - 0.5
    at = min(max(at, 0.0), source - 1.0)
    first = math.floor(at)
    return first, min(first + 1, source - 1), at - first


# -- sections 2 and 10: channel weights, cell weights, class vectors ----------------------------


def channel_weights(features: np.ndarray) -> np.ndarray:
    """log(sum of all Q / Q_k), Q_k the share of cells where channel k is above 0; else 0."""
    channels, height, width = features.shape
    share = [
        sum(1 for i in range(height) for j in range(width) if features[k, i, j] > 0)
        / (height * width)
        for k in range(channels)
    ]
    return np.array([math.log(sum(share) / q) if q > 0 else 0.0 for q in share])


def centring_prior(height: int, width: int) -> np.ndarray:
    """A Gaussian at the centre of the cells given, sigma = min(H, W) / 3."""
    sigma = min(height, width) / 3
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            away = (i - (height - 1) / 2) ** 2 + (j - (width - 1) / 2) ** 2
            result[i, j] = math.exp(-away / (2 * sigma**2))
    return result


def cell_weights(activation: np.ndarray, *, floor: float, centring: bool) -> np.ndarray:
    """``(CAM + floor) x prior``; in the paper's method the CAM itself."""
    height, width = activation.shape
    prior = centring_prior(height, width) if centring else np.ones((height, width))
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            result[i, j] = (activation[i, j] + floor) * prior[i, j]
    return result


def class_vector(features: np.ndarray, cells: np.ndarray, power: float) -> np.ndarray:
    """``w[k] x sum of X[k] x cells``, l2; with power: element-wise power, l2 again."""
    channels, height, width = features.shape
    weights = channel_weights(features)
    vector = np.zeros(channels)
    for k in range(channels):
        total = 0.0
        for i in range(height):
            for j in range(width):
                total += features[k, i, j] * cells[i, j]
        vector[k] = weights[k] * total
    vector = l2(vector)
    if power == 1:
        return vector
    return l2(np.array([v**power for v in vector]))


def cut(maps: np.ndarray, region: Cells) -> np.ndarray:
    """The cells of a region, of one map or of a stack of them."""
    x0, y0, x1, y1 = region
    return maps[..., y0:y1, x0:x1]


# -- section 3: whitening and aggregation -------------------------------------------------------


def fit_pca(rows: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, the first axes (rows) and their eigenvalues, of the sample covariance."""
    mean = rows.mean(axis=0)
    size = rows.shape[1]
    covariance = np.zeros((size, size))
    for row in rows:
        covariance += np.outer(row - mean, row - mean) / (len(rows) - 1)
    values, columns = np.linalg.eigh(covariance)
    order = sorted(range(size), key=lambda i: -values[i])[:dims]
    return mean, np.array([columns[:, i] for i in order]), values[order]


def whiten(vector: np.ndarray, mean: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Mean off, projected (axes already by the root of their eigenvalue), l2."""
    result = np.zeros(len(projection))
    for d in range(len(projection)):
        for k in range(len(vector)):
            result[d] += projection[d, k] * (vector[k] - mean[k])
    return l2(result)


def aggregate(whitened: Sequence[np.ndarray]) -> np.ndarray:
    """The sum over the classes, l2."""
    total = np.zeros(len(whitened[0]))
    for vector in whitened:
        total = total + vector
    return l2(total)


def join(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Each layer's descriptor (unit) side by side, l2 of the whole."""
    return l2(np.concatenate([l2(layer) for layer in layers]))


# -- section 4: the box of a query --------------------------------------------------------------


def region_of_box(
    box: Sequence[float],
    image: tuple[int, int],
    working: tuple[int, int],
    stride: int,
    grid: tuple[int, int],
) -> Cells:
    """pixel // stride at both ends, in pixels of the working size; never empty.

    Sizes are (width, height); grid is that of the map, in cells.
    """
    ends = []
    for axis in (0, 1):
        scale = Fraction(working[axis], image[axis])
        first = min(math.floor(Fraction(box[axis]) * scale) // stride, grid[axis] - 1)
        last = min(math.floor(Fraction(box[axis + 2]) * scale) // stride, grid[axis])
        ends.append((first, max(last, first + 1)))
    (x0, x1), (y0, y1) = ends
    return x0, y0, x1, y1


# -- section 6: regions -------------------------------------------------------------------------


def heat_map(maps: Sequence[np.ndarray], count: int = TWO_BEST) -> np.ndarray:
    """The mean of the first maps: those of the query's two best classes."""
    used = maps[:count]
    return sum(used[1:], start=used[0]) / len(used)


def propose(heat: np.ndarray, thresholds: Sequence[float], min_cells: float) -> list[Cells]:
    """For each threshold the bounding box of the largest component; equal boxes once."""
    found: list[Cells] = []
    for share in thresholds:
        component = largest_component(heat > share * heat.max())
        if not component:
            continue
        rows, columns = [i for i, _ in component], [j for _, j in component]
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        small = box[2] - box[0] < min_cells or box[3] - box[1] < min_cells
        if not small and box not in found:
            found.append(box)
    return found


def largest_component(above: np.ndarray) -> list[tuple[int, int]]:
    """The 8-connected component of most cells, the first in reading order of equals."""
    height, width = above.shape
    seen = np.zeros(above.shape, bool)
    largest: list[tuple[int, int]] = []
    for i in range(height):
        for j in range(width):
            if above[i, j] and not seen[i, j]:
                component = _flood(above, seen, i, j)
                if len(component) > len(largest):
                    largest = component
    return largest


def _flood(above: np.ndarray, seen: np.ndarray, i: int, j: int) -> list[tuple[int, int]]:
    component, waiting = [], deque([(i, j)])
    seen[i, j] = True
    while waiting:
        y, x = waiting.popleft()
        component.append((y, x))
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                b, a = y + down, x + right
                within = 0 <= b < above.shape[0] and 0 <= a < above.shape[1]
                if within and above[b, a] and not seen[b, a]:
                    seen[b, a] = True
                    waiting.append((b, a))
    return component


def on_coarser_grid(region: Cells, ratio: int) -> Cells:
    """Every coarse cell that the region touches."""
    x0, y0, x1, y1 = region
    columns = sorted({x // ratio for x in range(x0, x1)})
    rows = sorted({y // ratio for y in range(y0, y1)})
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def best_match(
    query: np.ndarray, regions: Sequence[Cells], describe: Callable[[Cells], np.ndarray]
) -> tuple[Cells, float, list[float]]:
    """The region of highest cosine with the query, that cosine, and all of them."""
    cosines = [float(np.dot(query, describe(region))) for region in regions]
    best = max(range(len(regions)), key=lambda i: cosines[i])
    return regions[best], cosines[best], cosines


# -- section 5: query expansion -----------------------------------------------------------------


def expand(
    query: np.ndarray, found: Sequence[np.ndarray], alpha: float | None = None
) -> np.ndarray:
    """``l2(q + sum of the hits)``; with alpha, each hit times its cosine to that power."""
    total = np.array(query, dtype=float)
    for hit in found:
        cosine = sum(float(a) * float(b) for a, b in zip(query, hit, strict=True))
        total = total + (hit if alpha is None else max(cosine, 0.0) ** alpha * hit)
    return l2(total)
