"""Which path is answered by what, and what is said of all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from reranker.http.paths import words_of
from reranker.local_elasticsearch.endpoints import Call, Reply
from reranker.local_elasticsearch.refusals import Refused, missing, plain, writing

__all__ = ["Endpoint", "endpoint_of"]

Endpoint = Callable[[Call], Reply]

_READ, _READ_ALL = ("GET", "HEAD"), ("GET", "POST")


@dataclass(frozen=True)
class _Path:
    words: tuple[str, ...]
    methods: tuple[str, ...]
    endpoint: Endpoint

    def names(self, words: tuple[str, ...]) -> dict[str, str] | None:
        """What the names in it stand for; None if the words are another path."""
        if len(words) != len(self.words):
            return None
        names = {}
        for mine, word in zip(self.words, words, strict=True):
            if mine.startswith("{"):
                names[mine.strip("{}")] = unquote(word)
            elif mine != word:
                return None
        index = names.get("index")
        if index is not None and (not index or (index.startswith("_") and index != "_all")):
            return None
        return names


def _path(template: str, methods: tuple[str, ...], endpoint: Endpoint) -> _Path:
    return _Path(words_of(template), methods, endpoint)


_PATHS = (
    _path("/", _READ, Call.about),
    _path("/_search", _READ_ALL, Call.search),
    _path("/{index}/_search", _READ_ALL, Call.search),
    _path("/_msearch", _READ_ALL, Call.search_many),
    _path("/{index}/_msearch", _READ_ALL, Call.search_many),
    _path("/_count", _READ_ALL, Call.count),
    _path("/{index}/_count", _READ_ALL, Call.count),
    _path("/_mget", _READ_ALL, Call.documents),
    _path("/{index}/_mget", _READ_ALL, Call.documents),
    _path("/{index}/_doc/{id}", _READ, Call.document),
    _path("/_mapping", ("GET",), Call.mapping),
    _path("/{index}/_mapping", ("GET",), Call.mapping),
    _path("/_alias", _READ, Call.aliases),
    _path("/{index}/_alias", _READ, Call.aliases),
    _path("/_refresh", _READ_ALL, Call.refresh),
    _path("/{index}/_refresh", _READ_ALL, Call.refresh),
    _path("/_cluster/health", ("GET",), Call.health),
    _path("/_cluster/health/{index}", ("GET",), Call.health),
    _path("/_cat/indices", ("GET",), Call.index_rows),
    _path("/_cat/indices/{index}", ("GET",), Call.index_rows),
    _path("/{index}", _READ, Call.whole_index),
)
# A path with one of these words writes, but where it is only read.
_WRITE_WORDS = frozenset(
    {
        "_alias",
        "_aliases",
        "_bulk",
        "_create",
        "_delete_by_query",
        "_mapping",
        "_reindex",
        "_settings",
        "_update",
        "_update_by_query",
    }
)
_WRITE_METHODS = frozenset({"PUT", "POST", "DELETE"})
_WRONG_METHOD = 405


def endpoint_of(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    """What answers a request, and the names in its path.

    Args:
        method: in capitals.
        path: as it stands in the request line, percent-encoded.

    Raises:
        Refused: nothing does.
    """
    words = words_of(path)
    for one in _PATHS:
        names = one.names(words)
        if names is not None and method in one.methods:
            return one.endpoint, names
        if names is not None and not _writes(method, words):
            raise _wrong_method(method, path, one.methods)
    if _writes(method, words):
        raise writing(method, path)
    raise missing(f"{method} {path}")


def _writes(method: str, words: tuple[str, ...]) -> bool:
    """Whether Elasticsearch would write something to an index."""
    if method not in _WRITE_METHODS or not words:
        return False
    if _WRITE_WORDS & set(words) or "_doc" in words[1:2]:
        return True
    return len(words) == 1 and not words[0].startswith("_")


def _wrong_method(method: str, path: str, allowed: tuple[str, ...]) -> Refused:
    sentence = (
        f"Incorrect HTTP method for uri [{path}] and method [{method}], allowed: "
        f"[{', '.join(allowed)}]"
    )
    return plain(sentence, _WRONG_METHOD, ((b"allow", ",".join(allowed).encode()),))
