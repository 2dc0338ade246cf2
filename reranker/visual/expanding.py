"""What expands the query of a second search: vectors of the first hits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import torch

from es_mappings.fields import DESCRIPTOR
from reranker.dialect.values import about_indices
from reranker.errors import UpstreamRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from reranker.exchange import Request, Upstream
    from reranker.visual.reordering import Placed

__all__ = ["vectors_of"]

# The indices of one search may hold an id several times each, and only one of them is the hit.
_COPIES = 100
_MOST_HITS = 10_000
_OK = 200


async def vectors_of(
    upstream: Upstream,
    request: Request,
    best: Sequence[Placed],
    like: Tensor,
) -> list[Tensor]:
    """What hits expand the query with: of their matching, or the vectors they are indexed with.

    Args:
        upstream: who is asked for what is indexed.
        request: the caller's search, whose path and headers are used.
        best: the hits.
        like: the query's vector: a hit's of other dimensions is not of our making.

    Returns:
        In the order of the hits; one that is gone meanwhile, or hidden, is left out.

    Raises:
        UpstreamRefused: Elasticsearch does not show them.
        UpstreamUnreachable: it does not answer.
    """
    matched = {one.key: one.expanding for one in best if one.expanding is not None}
    wanted = [one.key for one in best if one.key not in matched]
    indexed = await _indexed(upstream, request, wanted) if wanted else {}
    fitting = {
        key: torch.from_numpy(vector).to(like.device)
        for key, vector in indexed.items()
        if vector.shape == like.shape
    }
    known = matched | fitting
    return [known[one.key] for one in best if one.key in known]


async def _indexed(
    upstream: Upstream, request: Request, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], np.ndarray]:
    """The vectors of documents, as the caller may see them."""
    body = {
        "query": {"ids": {"values": sorted({image_id for _, image_id in keys})}},
        "size": min(len(keys) * _COPIES, _MOST_HITS),
        "_source": False,
        "fields": [DESCRIPTOR],
    }
    query = about_indices(request.query)
    asked = replace(request, method="POST", query=query, body=orjson.dumps(body))
    answer = await upstream.ask(asked)
    if answer.status != _OK:
        raise UpstreamRefused("Elasticsearch does not show the vectors of hits.", answer)
    found = {
        (hit["_index"], hit["_id"]): hit.get("fields", {}).get(DESCRIPTOR)
        for hit in orjson.loads(answer.body)["hits"]["hits"]
    }
    wanted = set(keys)
    return {
        key: np.asarray(vector, np.float32)
        for key, vector in found.items()
        if key in wanted and vector
    }
