"""The ways to rank: each makes an order of the gallery's rows out of a `Hand`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from descriptors.expansion import GRAPH_HITS, diffuse, expand, expanded_query
from descriptors.settings import RegionSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluation.improvements.hand import Hand

    Ranking = Callable[[Hand], list[int]]

__all__ = [
    "diffused",
    "diffused_order",
    "expanded",
    "expanded_twice",
    "fused",
    "refined",
    "region_and_picture",
    "summed_with_neighbours",
]


def expanded(hits: int, alpha: float = 0.0) -> Ranking:
    """The query expanded with the first hits; alpha-QE of Radenovic et al. 2018 with an alpha."""

    def rank(hand: Hand) -> list[int]:
        return hand.searched_again(_with_best(hand, hand.matched, hits, alpha))

    return rank


def expanded_twice(hits: int, more: int, alpha: float) -> Ranking:
    """Expanded, the window ordered by that query, and expanded anew with more hits."""

    def rank(hand: Hand) -> list[int]:
        once = _with_best(hand, hand.matched, hits, alpha)
        scores = torch.maximum(hand.pictures @ once, hand.regions @ once)
        return hand.searched_again(_with_best(hand, scores, more, alpha))

    return rank


def fused(share: float, hits: int = 0) -> Ranking:
    """The window by a mean of first score and best region; with hits, expanded with them.

    Args:
        share: of the first search's score, 0..1.
        hits: that expand the query; 0 for none.
    """

    def rank(hand: Hand) -> list[int]:
        scores = share * hand.first[hand.window] + (1 - share) * hand.matched
        if not hits:
            return hand.reordered(scores)
        return hand.searched_again(_with_best(hand, scores, hits))

    return rank


def region_and_picture(hits: int) -> Ranking:
    """Expanded, where the sum of picture and best region stands for a hit's best region."""

    def rank(hand: Hand) -> list[int]:
        query = _with_best(hand, hand.matched, hits)
        return hand.searched_again(query, hand.both)

    return rank


def summed_with_neighbours(neighbours: int, hits: int, power: int = 3) -> Ranking:
    """Each hit of the window summed with those nearest to it first, weighted by cosine to a power.

    Source:
        Database-side augmentation (Arandjelovic and Zisserman 2012, Radenovic et al. 2018) on
        the window alone, so that no index changes.
    """

    def rank(hand: Hand) -> list[int]:
        others = (hand.both @ hand.both.T).fill_diagonal_(0).clamp_min(0) ** power
        nearest = others.topk(min(neighbours, len(others)), dim=1)
        weights = torch.zeros_like(others).scatter(1, nearest.indices, nearest.values)
        summed = functional.normalize(hand.both + weights @ hand.both, dim=1)
        best = (summed @ hand.query).topk(min(hits, len(summed))).indices
        return hand.searched_again(expand(hand.query, summed[best]), summed)

    return rank


def refined(neighbours: int, hits: int = 0) -> Ranking:
    """The window's descriptors refined by their nearest, the query by its first hits, both scored.

    Args:
        neighbours: of each hit, itself among them, and first hits for the query.
        hits: that then expand the query for a second search; 0 for none.

    Source:
        after Shao et al. 2023, "Global Features are All You Need for Image Retrieval and
        Reranking", with plain means in the place of their generalised ones.
    """

    def rank(hand: Hand) -> list[int]:
        alike = hand.pictures @ hand.pictures.T
        nearest = alike.topk(min(neighbours, len(alike)), dim=1)
        weights = torch.zeros_like(alike).scatter(1, nearest.indices, nearest.values)
        hits_refined = functional.normalize(weights @ hand.pictures, dim=1)
        first = hand.matched.topk(min(neighbours, len(alike))).indices
        query = functional.normalize(hand.query + hand.pictures[first].mean(dim=0), dim=0)
        scores = (hits_refined @ hand.query + hand.pictures @ query) / 2
        if not hits:
            return hand.reordered(scores)
        return hand.searched_again(_with_best(hand, scores, hits))

    return rank


def diffused_order(hits: int, settings: RegionSettings) -> Ranking:
    """The window by how well diffusion from the first hits reaches each; no second search."""

    def rank(hand: Hand) -> list[int]:
        order = hand.matched.argsort(descending=True, stable=True)[:GRAPH_HITS]
        scores = hand.matched * 1e-3
        scores[order] += diffuse(
            hand.query,
            hand.pictures[order],
            hits,
            settings.expand_neighbours,
            settings.expand_spread,
        )
        return hand.reordered(scores)

    return rank


def diffused(hits: int, settings: RegionSettings, *, matched: bool = True) -> Ranking:
    """The default: expanded with what diffusion reaches.

    Args:
        hits: it starts at.
        settings: of the diffusion.
        matched: after a re-ranking; else straight after the first search.
    """

    def rank(hand: Hand) -> list[int]:
        scores = hand.matched if matched else hand.first[hand.window]
        order = scores.argsort(descending=True, stable=True)[:GRAPH_HITS]
        found = (hand.wholes if matched else hand.pictures)[order]
        query = expanded_query(hand.query, found, hits, 0.0, settings)
        return hand.searched_again(query) if matched else hand.ranked(hand.gallery @ query)

    return rank


def _with_best(
    hand: Hand, scores: Float[Tensor, " R"], hits: int, alpha: float = 0.0
) -> Float[Tensor, " D"]:
    """The query with the pictures of the window's best hits, each by its score to a power."""
    best = scores.argsort(descending=True, stable=True)[:hits]
    weights = scores[best].clamp_min(0) ** alpha
    return expand(hand.query, hand.pictures[best], weights=weights)
