"""Query expansion: the query plus what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from descriptors.settings import RegionSettings

__all__ = ["GRAPH_HITS", "diffuse", "expand", "expanded_query", "hits_to_read"]

# Hits that diffusion looks at. A photo's own kind is rarely more; 50 cost .007 mAP, and the
# vectors of 1000 would have to be fetched.
GRAPH_HITS = 100
# Iscen et al.'s: what is half as like counts an eighth.
_POWER = 3


def hits_to_read(hits: int, settings: RegionSettings) -> int:
    """How many hits' descriptors `expanded_query` wants, for an expansion with `hits` of them."""
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
        query: unit.
        found: descriptors of the first `hits_to_read` hits, best first; fewer if there are fewer.
        hits: n, the first hits that are trusted.
        alpha: of alpha-QE; 0 is plain.
        settings: whether they expand the query by themselves, as the paper says, or together
            with the hits that diffusion reaches from them.

    Returns:
        Unit; the query itself where nothing was found.

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
        query: unit.
        found: descriptors of the first n hits; of its best region for a re-ranked hit.
        alpha: each hit weighs its cosine with the query to this power; 0 is plain QE.
        weights: what each hit weighs besides; None for all alike.

    Returns:
        Unit; the query itself where nothing was found.

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
    """How well each hit is reached from the first ones over hits that are like each other.

    Each hit is joined to its nearest ones; a random walk starts at the first hits, the more
    often the more they are like the query, and goes on with probability `spread` at each step.

    Args:
        query: unit.
        found: descriptors of the hits, best first.
        hits: how many of them the walk starts at.
        neighbours: K; two hits are joined if either is among the other's K nearest.
        spread: 0..1, how far the walk goes; 0 stays with the first hits.

    Returns:
        Shares of the best reached hit's, 0..1; all 0 where no first hit is like the query.

    Source:
        Iscen et al. 2017, "Efficient Diffusion on Region Manifolds", sections 3 and 4, in closed
        form on the hits alone. They join what is mutually near; either serves better here.
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
