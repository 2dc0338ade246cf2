"""Queries of several vectors: examples of what is meant, and query expansion by first hits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.arrays import QueryDescription
    from descriptors.settings import RegionSettings

__all__ = ["GRAPH_HITS", "combined_query", "diffuse", "expand", "expanded_query", "hits_to_read"]

# What a negative example subtracts. With a half, mAP falls (docs/results.md).
_NEGATIVE_SHARE = 0.25

# Hits in the diffusion graph. 50 cost .007 mAP; more rarely help, and their vectors must be read.
GRAPH_HITS = 100
# Exponent of similarities in the graph, as in Iscen et al. 2017.
_POWER = 3


def combined_query(
    views: Sequence[QueryDescription], without: Sequence[QueryDescription] = ()
) -> QueryDescription:
    """One query of several images.

    Args:
        views: images of what is meant, at least one.
        without: images of what it is not.

    Returns:
        Their mean descriptor, minus a quarter of the mean of those of `without`, as a unit vector;
        the classes and `region_descriptor` are those of the first view.

    Source:
        Rocchio 1971; docs/method.md section 13, with what else was measured.
    """
    if len(views) == 1 and not without:
        return views[0]
    mean = torch.stack([view.descriptor for view in views]).mean(dim=0)
    if without:
        negative = torch.stack([one.descriptor for one in without]).mean(dim=0)
        mean = functional.normalize(mean, dim=0) - _NEGATIVE_SHARE * functional.normalize(
            negative, dim=0
        )
    examples = len(views) + len(without)
    return replace(views[0], descriptor=functional.normalize(mean, dim=0), examples=examples)


def hits_to_read(hits: int, settings: RegionSettings) -> int:
    """Number of hits whose descriptors `expanded_query` needs to expand with `hits` of them."""
    return max(hits, GRAPH_HITS) if hits and settings.expand_neighbours else hits


def expanded_query(
    query: Float[Tensor, " D"],
    found: Float[Tensor, "m D"],
    hits: int,
    alpha: float,
    settings: RegionSettings,
) -> Float[Tensor, " D"]:
    """The query of the second search.

    Args:
        query: unit vector.
        found: descriptors of up to `hits_to_read` hits, best first.
        hits: n, the first hits that are trusted.
        alpha: exponent of alpha-QE; 0 is plain QE.
        settings: expand with these hits only, as in the paper, or also with the hits that
            diffusion reaches from them.

    Returns:
        Unit vector; the query if nothing was found.

    Source:
        docs/method.md section 5; diffusion is ours, docs/adr/0014.
    """
    if not settings.expand_neighbours or not len(found):
        return expand(query, found[:hits], alpha)
    reached = diffuse(query, found, hits, settings.expand_neighbours, settings.expand_spread)
    best = reached.topk(min(max(hits, settings.expand_max), len(reached)))
    return expand(query, found[best.indices], alpha, best.values)


def expand(
    query: Float[Tensor, " D"],
    found: Float[Tensor, "n D"],
    alpha: float = 0.0,
    weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, " D"]:
    """The query's descriptor averaged with those of its first hits.

    Args:
        query: unit vector.
        found: descriptors of the first n hits; of its best region for a re-ranked hit.
        alpha: each hit is weighted by its cosine to this power; 0 is plain QE.
        weights: further weights of the hits; None for equal ones.

    Returns:
        Unit vector; the query if nothing was found.

    Source:
        paper section 4.4; docs/method.md section 5; alpha-QE is Radenovic et al. 2018.
    """
    powers = (found @ query).clamp_min(0) ** alpha
    if weights is not None:
        powers = powers * weights
    return functional.normalize(query + (powers[:, None] * found).sum(dim=0), dim=0)


def diffuse(
    query: Float[Tensor, " D"],
    found: Float[Tensor, "m D"],
    hits: int,
    neighbours: int,
    spread: float,
) -> Float[Tensor, " m"]:
    """Scores of a random walk from the first hits over a graph of similar hits.

    The walk starts at the first hits, weighted by similarity to the query, and continues with
    probability `spread` at each step.

    Args:
        query: unit vector.
        found: descriptors of the hits, best first.
        hits: number of hits at which the walk starts.
        neighbours: K; two hits are joined if either is among the other's K nearest.
        spread: 0..1; 0 stays at the first hits.

    Returns:
        Scores in 0..1, relative to the highest; all 0 if no first hit resembles the query.

    Source:
        Iscen et al. 2017, "Efficient Diffusion on Region Manifolds", sections 3 and 4, in closed
        form on the hits alone. They join mutual neighbours only, which scores lower here.
    """
    alike = (found @ found.T).clamp_min(0) ** _POWER
    alike.fill_diagonal_(0)
    nearest = alike.topk(min(neighbours, len(found))).values[:, -1:]
    joined = torch.where(alike >= nearest, alike, 0.0)
    joined = torch.maximum(joined, joined.T)
    degree = joined.sum(dim=1)
    root = torch.where(degree > 0, degree.clamp_min(torch.finfo(degree.dtype).tiny).rsqrt(), 0.0)
    walk = root[:, None] * joined * root
    start = (found @ query).clamp_min(0) ** _POWER
    start[hits:] = 0
    system = torch.eye(len(found), dtype=found.dtype, device=found.device) - spread * walk
    reached: Tensor = torch.linalg.solve(system, start).clamp_min(0)
    return reached / reached.amax().clamp_min(torch.finfo(reached.dtype).tiny)
