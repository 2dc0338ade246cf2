"""How a recorded request is written down, and what its documents are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
VENDOR = "application/vnd.elasticsearch+json; compatible-with=9"
PAIR = {"Content-Type": VENDOR, "Accept": VENDOR}
BULKY = 20 * 1024 * 1024


@dataclass(frozen=True)
class Recorded:
    """A request; `{i}` in its target is the index.

    Attributes:
        chunked: the body is sent in pieces, without a length.
        shape_only: the answer's numbers are the moment's; its keys are compared.
    """

    method: str
    target: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    shape_only: bool = False


def asking(method, target, body=None, **more):
    if body is None:
        return Recorded(method, target, **more)
    headers = JSON | more.pop("headers", {})
    return Recorded(method, target, json.dumps(body).encode(), headers, **more)


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def bulk(count, size=0, start=0):
    rows: list[Any] = []
    for number in range(start, start + count):
        rows.append({"index": {"_id": f"bulk-{number}"}})
        rows.append(document(number) | ({"filling": "x" * size} if size else {}))
    return lines(*rows)


def document(number):
    return {
        "descriptor": [round((number * k) % 7 / 7 + 0.1, 3) for k in range(1, 5)],
        "city": ["Paris", "Köln", "東京"][number % 3],
        "number": number,
        "text": f"the image number {number}",
    }


VECTOR = {"field": "descriptor", "query_vector": [0.1, 0.2, 0.3, 0.4], "k": 5, "num_candidates": 9}
MAPPING = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0},
    "mappings": {
        "properties": {
            "descriptor": {"type": "dense_vector", "dims": 4, "similarity": "cosine"},
            "city": {"type": "keyword"},
            "number": {"type": "integer"},
            "text": {"type": "text"},
            "filling": {"type": "keyword", "index": False, "doc_values": False},
        }
    },
}
UNICODE_IDS = ["/photos/été/1.jpg", "東京 ✓", "a+b c", "..", "a;b=c", "%2F", "x?y#z", "🎉"]


def quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())
