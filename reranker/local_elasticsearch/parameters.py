"""What follows the question mark: read one by one, and refused if it is not known."""

from __future__ import annotations

from urllib.parse import parse_qsl

from reranker.local_elasticsearch.refusals import bad_request, missing

__all__ = ["Parameters"]

# Said to a cluster of many nodes, or of the answer's look where JSON is JSON.
_WITHOUT_EFFECT = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "batched_reduce_size",
        "ccs_minimize_roundtrips",
        "error_trace",
        "expand_wildcards",
        "human",
        "ignore_throttled",
        "local",
        "master_timeout",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "preference",
        "realtime",
        "refresh",
        "request_cache",
        "routing",
        "search_type",
        "typed_keys",
    }
)
_YES, _NO = frozenset({"", "true"}), frozenset({"false"})


class Parameters:
    """The parameters of one request, each to be taken once."""

    def __init__(self, query: str) -> None:
        """Read what follows the question mark; of a name that comes twice the last counts."""
        self._values = dict(parse_qsl(query, keep_blank_values=True))
        self.pretty = self.flag("pretty", default=False)
        self.filter_path = self.text("filter_path") or ""

    def text(self, name: str) -> str | None:
        """The value of one; None if it is not there."""
        return self._values.pop(name, None)

    def flag(self, name: str, *, default: bool) -> bool:
        """The value of one that says yes or no.

        Raises:
            Refused: it says neither.
        """
        said = self.flag_if_there(name)
        return default if said is None else said

    def flag_if_there(self, name: str) -> bool | None:
        """The value of one that says yes or no; None if it is not there.

        Raises:
            Refused: it says neither.
        """
        value = self.text(name)
        if value is None:
            return None
        if value not in _YES | _NO:
            raise bad_request(
                "illegal_argument_exception",
                f"Failed to parse value [{value}] of [{name}] as only [true] or [false] are allowed.",
            )
        return value in _YES

    def listed(self, name: str) -> tuple[str, ...] | None:
        """The values of one, between commas; None if it is not there."""
        value = self.text(name)
        return None if value is None else tuple(part for part in value.split(",") if part)

    def nothing_else(self) -> None:
        """Make sure that all of them have been taken.

        Raises:
            Refused: there is one that changes the answer and that nobody took.
        """
        unknown = sorted(self._values.keys() - _WITHOUT_EFFECT)
        if unknown:
            raise missing(f"The parameter [{unknown[0]}]")
