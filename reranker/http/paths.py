"""Split paths as Elasticsearch does, and decide which requests only read.

Elasticsearch splits a path at its slashes before decoding, compares segments undecoded, and decodes
only names: ``/%5Fsearch`` is an index called ``_search``, and ``a%2Fb`` is one name. Paths with
``.`` or ``..`` segments are not known to read, since a proxy in between might resolve them.
"""

from __future__ import annotations

from collections import defaultdict
from urllib.parse import unquote

__all__ = ["index_of", "reads", "words_of"]

_TABLE = """
GET       /
GET       /{index}
GET       /{index}/_doc/{id}
GET       /{index}/_source/{id}
GET,POST  /{index}/_explain/{id}
GET,POST  /_mget                              /{index}/_mget
GET,POST  /_search                            /{index}/_search
GET,POST  /_msearch                           /{index}/_msearch
GET,POST  /_search/template                   /{index}/_search/template
GET,POST  /_msearch/template                  /{index}/_msearch/template
GET,POST  /_render/template                   /_render/template/{id}
GET,POST  /_count                             /{index}/_count
GET,POST  /_validate/query                    /{index}/_validate/query
GET,POST  /_field_caps                        /{index}/_field_caps
GET,POST  /_rank_eval                         /{index}/_rank_eval
GET,POST  /_search_shards                     /{index}/_search_shards
GET,POST  /_analyze                           /{index}/_analyze
GET,POST  /{index}/_terms_enum
GET,POST  /{index}/_termvectors               /{index}/_termvectors/{id}
GET,POST  /_mtermvectors                      /{index}/_mtermvectors
GET,POST  /{index}/_mvt/{field}/{z}/{x}/{y}
GET,POST,DELETE /_search/scroll               /_search/scroll/{id}
POST      /{index}/_pit
DELETE    /_pit
POST      /_async_search                      /{index}/_async_search
GET,DELETE /_async_search/{id}
GET       /_async_search/status/{id}
POST      /_query                             /_query/async
GET,DELETE /_query/async/{id}
GET,POST  /_sql                               /_sql/translate
POST      /_sql/close
GET,POST  /{index}/_eql/search
GET,DELETE /_eql/search/{id}
GET       /_eql/search/status/{id}
GET       /_mapping                           /{index}/_mapping
GET       /_mapping/field/{field}             /{index}/_mapping/field/{field}
GET       /_settings                          /{index}/_settings
GET       /_settings/{name}                   /{index}/_settings/{name}
GET       /_alias                             /{index}/_alias
GET       /_alias/{name}                      /{index}/_alias/{name}
GET       /_data_stream                       /_data_stream/{name}
GET       /_index_template                    /_index_template/{name}
GET       /_component_template                /_component_template/{name}
GET       /_resolve/index/{name}              /_resolve/cluster/{name}
GET       /_stats                             /_stats/{metric}
GET       /{index}/_stats                     /{index}/_stats/{metric}
GET       /_segments                          /{index}/_segments
GET       /_recovery                          /{index}/_recovery
GET       /_shard_stores                      /{index}/_shard_stores
GET       /_cluster/health                    /_cluster/health/{index}
GET       /_cluster/state                     /_cluster/state/{metric}
GET       /_cluster/state/{metric}/{index}
GET       /_cluster/stats                     /_cluster/settings
GET       /_nodes                             /_nodes/{node}
GET       /_nodes/{node}/{metric}             /_nodes/stats
GET       /_nodes/stats/{metric}              /_nodes/{node}/stats
GET       /_nodes/{node}/stats/{metric}
GET       /_tasks                             /_tasks/{id}
GET       /_cat                               /_cat/{what}
GET       /_cat/{what}/{name}
GET       /_license                           /_xpack
GET       /_security/_authenticate
"""


def _read_table() -> dict[tuple[str, int], tuple[tuple[str, ...], ...]]:
    """Path templates by method and number of segments."""
    paths: dict[tuple[str, int], list[tuple[str, ...]]] = defaultdict(list)
    for line in _TABLE.strip().splitlines():
        methods, *templates = line.split()
        for template in templates:
            words = words_of(template)
            for method in methods.split(","):
                paths[method, len(words)].append(words)
                if method == "GET":
                    paths["HEAD", len(words)].append(words)
    return {key: tuple(found) for key, found in paths.items()}


def words_of(path: str) -> tuple[str, ...]:
    """The segments of a path; one leading slash and all trailing slashes are ignored."""
    words = path.removeprefix("/").rstrip("/")
    return tuple(words.split("/")) if words else ()


def index_of(path: str) -> str:
    """The index names of a path, decoded; empty if there are none."""
    words = words_of(path)
    return unquote(words[0]) if len(words) > 1 else ""


def reads(method: str, path: str) -> bool:
    """Whether a request is known to only read.

    Args:
        method: in capitals.
        path: percent-encoded.

    Convention:
        Opening or closing a scroll, a point in time or an asynchronous search counts as
        reading. A path that is not in the table does not.
    """
    words = words_of(path)
    known = _PATHS.get((method, len(words)), ())
    return any(_fits(template, words) for template in known) and not _climbs(path)


def _fits(template: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return all(
        _is_name(word, stands_for) if stands_for.startswith("{") else word == stands_for
        for stands_for, word in zip(template, words, strict=True)
    )


def _is_name(word: str, stands_for: str) -> bool:
    """Whether a segment can be such a name; index names never begin with an underscore."""
    name = unquote(word)
    if stands_for == "{index}":
        return bool(name) and (name == "_all" or not name.startswith("_"))
    return bool(name)


def _climbs(path: str) -> bool:
    """Whether a proxy that normalises paths would see a different path."""
    seen = path
    for _ in range(3):  # also if encoded twice
        parts = seen.replace("\\", "/").split("/")
        if "." in parts or ".." in parts:
            return True
        seen = unquote(seen)
    return False


_PATHS = _read_table()
