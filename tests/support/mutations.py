"""Valid searches made wrong: by their JSON, their bytes, their headers and query strings.

Every case follows from its number alone, so one that fails is made again by it.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reranker.http.exchange import Headers

_WORDS = (
    *("camsearch", "retriever", "knn", "query", "ext", "image", "images", "without", "box", "data"),
    *("id", "url"),
    *("query_vector_builder", "query_vector", "rank_window_size", "rerank", "expand", "hits"),
    *("alpha", "regions", "classes", "k", "num_candidates", "field", "filter", "boost", "size"),
    *("from", "_source", "fields", "min_score", "sort", "timeout", "aggs", "bool", "must", "term"),
    *("highlight", "collapse", "pit", "rescore", "post_filter", "stored_fields", "similarity"),
    *("track_total_hits", "explain", "profile", "search_after", "suggest", "params", "", "é"),
)
_OURS = frozenset(_WORDS[_WORDS.index("image") : _WORDS.index("k")]) - {"query_vector"}
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, -1, 1, 3, 1.5, 1e308, -1e-320, 2**31, 2**63, 2**64, 2**200),
    *("", " ", "0", "-1", "3", "null", "x" * 3000, "é🐈", "\x00", "a\r\nb: c", "_score", "1m"),
    *("*", "**", "../../etc/passwd", "http://127.0.0.1/x", "data:,", "data:image/png;base64,AAAA"),
    *([], {}, [[]], [{}], {"": {}}, [None], [1, 2, 3, 4], [0, 0, 5, 5], [9, 9, 1, 1], ["x"] * 300),
    *({"camsearch": {}}, {"camsearch": None}, {"term": {"meta.city": "Bonn"}}, {"match_all": {}}),
)
_DEPTHS = (5, 70, 260, 1100, 5000)
_PATHS = (
    *(["/images/_search"] * 20),
    *(["/images/_msearch"] * 3),
    *("/_search", "/images,images/_search", "/%69mages/_search", "/images/_search/", "/*/_search"),
    *("/none/_search", "/-x/_search", "/_msearch", "/a%2Fb/_search", "/%/_search"),
    *("/images/_search/template", "/_all/_search"),
)
_PARAMETERS = ("size", "from", "filter_path", "timeout", "pretty", "_source", "sort", "scroll")
_PARAMETERS += ("typed_keys", "rest_total_hits_as_int", "format", "source", "routing", "q", "x")
_VALUES = ("", "0", "3", "-1", "99999999999", "true", "false", "hits.hits._id", "-hits", "**")
_VALUES += (
    "1ms",
    "%00",
    "%zz",
    "%F0%9F",
    "a,b",
    "1m",
    "yaml",
    "%7B%22knn%22%3A%7B%7D%7D",
    "+",
    "_score",
)
_TYPES = (
    *(b"application/json", b"application/json", b"application/x-ndjson", b"text/plain", b""),
    *(b"application/vnd.elasticsearch+json; compatible-with=9", b"\xff"),
    b"application/json; charset=utf-16",
)
_ACCEPTS = (b"*/*", b"application/json", b"application/yaml", b"text/html", b"", b"\xff")


@dataclass(frozen=True)
class Case:
    """A request that may be wrong."""

    number: int
    method: str
    target: str
    headers: Headers
    body: bytes


def case(number: int, valid: Sequence[Mapping[str, Any]]) -> Case:
    """One of endlessly many."""
    chance = random.Random(number)
    target = chance.choice(_PATHS)
    several = "_msearch" in target
    bodies = [_mutated(chance, valid) for _ in range(chance.randint(1, 4) if several else 1)]
    body = b"".join(b"{}\n%b\n" % one for one in bodies) if several else bodies[0]
    if chance.random() < 0.2:
        body = _scrambled(chance, body)
    headers = [(b"content-type", chance.choice(_TYPES) if chance.random() < 0.1 else _TYPES[0])]
    if chance.random() < 0.1:
        headers.append((b"accept", chance.choice(_ACCEPTS)))
    if chance.random() < 0.1:
        body, encoding = _packed(chance, body)
        headers.append((b"content-encoding", encoding))
    method = "GET" if chance.random() < 0.1 else "POST"
    return Case(number, method, target + _query(chance), tuple(headers), body)


def _mutated(chance: random.Random, valid: Sequence[Mapping[str, Any]]) -> bytes:
    body: Any = copy.deepcopy(dict(chance.choice(valid)))
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 3, 6))):
        body = _CHANGES[chance.randrange(len(_CHANGES))](chance, body, valid)
    try:
        return json.dumps(body, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 5000


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each container with a key in it."""
    found, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], (dict, list)):
                waiting.append(one[key])
    return found


def _any_place(chance: random.Random, body: Any) -> tuple[Any, Any]:
    """A place; every other time one of our own keys, of which there are few among many."""
    places = _places(body)
    ours = [place for place in places if place[1] in _OURS]
    return chance.choice((ours if chance.random() < 0.5 else places) or [({"": None}, "")])


def _replace(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    holder, key = _any_place(chance, body)
    holder[key] = copy.deepcopy(chance.choice(_ODD))
    return body


def _delete(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    holder, key = _any_place(chance, body)
    del holder[key]
    return body


def _rename(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    holder, key = _any_place(chance, body)
    if isinstance(holder, dict):
        holder[chance.choice(_WORDS)] = holder.pop(key)
    return body


def _insert(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    holder, _ = _any_place(chance, body)
    odd = copy.deepcopy(chance.choice(_ODD))
    if isinstance(holder, dict):
        holder[chance.choice(_WORDS)] = odd
    else:
        holder.append(odd)
    return body


def _graft(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    """A part of another search."""
    holder, key = _any_place(chance, body)
    other, part = _any_place(chance, copy.deepcopy(dict(chance.choice(valid))))
    holder[key] = other[part]
    return body


def _wrap(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    holder, key = _any_place(chance, body)
    word = chance.choice(_WORDS)
    for _ in range(chance.choice(_DEPTHS) if chance.random() < 0.2 else 1):
        holder[key] = [holder[key]] if chance.random() < 0.5 else {word: holder[key]}
    return body


def _nudge(chance: random.Random, body: Any, valid: Sequence[Any]) -> Any:
    """A number a little beside itself, a text with a letter changed: images too."""
    holder, key = _any_place(chance, body)
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return body
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        holder[key] = value[:at] + chance.choice(("", "A", "=", "\u0000", "é")) + value[at + 1 :]
    else:
        holder[key] = value + chance.choice((-1, 1, 0.5, 1e9, -1e9, 1e-9))
    return body


_CHANGES: tuple[Callable[[random.Random, Any, Sequence[Any]], Any], ...] = (
    *(_replace, _replace, _delete, _rename, _insert, _graft, _wrap, _nudge),
)


def _scrambled(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    return chance.choice(
        (
            body[:at],
            body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :],
            body[:at] + bytes(chance.randrange(256) for _ in range(8)) + body[at:],
            body.replace(b"camsearch", b"\\u0063amsearch"),
            body.replace(b'"k"', b'"k": 1, "k"'),
            body.replace(b": 15", b": 1e999999"),
            body.replace(b": 15", b": NaN"),
            b"\xef\xbb\xbf" + body,
            body + b"\n{}",
            body + b"/* camsearch */",
            body * 2,
            b"",
        )
    )


def _packed(chance: random.Random, body: bytes) -> tuple[bytes, bytes]:
    packed = gzip.compress(body, 1)
    return chance.choice(
        (
            (packed, b"gzip"),
            (packed, b"x-gzip"),
            (zlib.compress(body), b"deflate"),
            (packed[: len(packed) // 2], b"gzip"),
            (packed + b"more", b"gzip"),
            (body, b"gzip"),
            (packed, b"br"),
            (b"", b"gzip"),
        )
    )


def _query(chance: random.Random) -> str:
    if chance.random() < 0.8:
        return ""
    pairs = [
        f"{chance.choice(_PARAMETERS)}={chance.choice(_VALUES)}"
        for _ in range(chance.randint(1, 3))
    ]
    return "?" + chance.choice(("&", "&", ";")).join(pairs)
