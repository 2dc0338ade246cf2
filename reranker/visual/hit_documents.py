"""One document of the index, as its caller may see it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from reranker.dialect.answers import FoundHit, read_hits
from reranker.errors import UpstreamRefused
from reranker.exchange import search_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reranker.exchange import Request, Upstream

__all__ = ["find_document"]

_JSON = ((b"content-type", b"application/json"), (b"accept", b"application/json"))
_MEDIA = frozenset({b"content-type", b"accept"})
_OK = 200


async def find_document(
    upstream: Upstream, request: Request, index: str, image_id: str, fields: Sequence[str]
) -> FoundHit | None:
    """A document, with some of its fields; None if there is none of this id.

    Args:
        upstream: who is asked.
        request: whose rights are used.
        index: percent-encoded; empty for all.
        image_id: of the document.
        fields: wanted.

    Raises:
        UpstreamRefused: Elasticsearch refuses.
    """
    body = {
        "query": {"ids": {"values": [image_id]}},
        "size": 1,
        "_source": False,
        "fields": list(fields),
    }
    headers = (*(pair for pair in request.headers if pair[0] not in _MEDIA), *_JSON)
    asked = replace(
        request,
        method="POST",
        path=search_path(index),
        query="",
        headers=headers,
        body=orjson.dumps(body),
    )
    answer = await upstream.ask(asked)
    if answer.status != _OK:
        raise UpstreamRefused(f"Elasticsearch refuses to look for [{image_id}].", answer)
    hits = read_hits(orjson.loads(answer.body))
    return hits[0] if hits else None
