"""Searches as clients send them."""

import base64

import orjson

from reranker.dialect.parsing import parse_search
from reranker.dialect.searches import DialectLimits

IMAGE = b"the bytes of an image"
DATA = {"data": base64.b64encode(IMAGE).decode()}
LIMITS = DialectLimits(
    window=200, k=500, expand_hits=20, hits=1000, images=2, image_bytes=100, depth=20
)


def clause(image=None, **more):
    """A `knn` clause that gets its vector from us."""
    builder = {"camsearch": {"image": DATA if image is None else image}}
    return {
        "field": "descriptor",
        "k": 5,
        "num_candidates": 9,
        "query_vector_builder": builder,
    } | more


def reranked(inner=None, body=None, **ours):
    inner = {"knn": clause()} if inner is None else inner
    return {"retriever": {"camsearch": {"retriever": inner, **ours}}, **(body or {})}


def parsed(body, query="", limits=LIMITS):
    return parse_search(orjson.dumps(body), query, limits)
