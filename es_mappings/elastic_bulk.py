"""Bulk writing in requests of limited size, with retries for each item."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from elastic_transport import TransportError
from elasticsearch import ApiError

from es_mappings.elastic_client import PASSING, answered, distrust, reason_of
from galleries.errors import (
    ContractError,
    DocumentsRefused,
    GalleryNotFound,
    GalleryUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from elasticsearch import Elasticsearch

__all__ = ["Bulk", "Outcome", "check_held", "deletion", "write"]

_CONFLICT = 409
_MISSING = 404
_TOO_LARGE = 413
_WANTED = "errors,items.*.status,items.*.error"
_NOT_OURS = frozenset({401, 403, 500})
_UNAVAILABLE = 503
# The reason of a 500 that says only that the cluster is busy.
_MAPPING_IS_LATE = "timed out while waiting for a dynamic mapping update"


def write(index: str, id_: str, source: Mapping[str, Any], revision: int | None = None) -> bytes:
    """The lines of a bulk request that write a document, unless a later revision exists."""
    return b"%b\n%b" % (_line("index", index, id_, revision), _json(source))


def deletion(index: str, id_: str, revision: int | None = None) -> bytes:
    """The line of a bulk request that deletes a document, unless a later revision exists."""
    return _line("delete", index, id_, revision)


def _line(operation: str, index: str, id_: str, revision: int | None) -> bytes:
    about: dict[str, Any] = {"_index": index, "_id": id_}
    if revision is not None:
        about |= {"version": revision, "version_type": "external_gte"}
    return orjson.dumps({operation: about})


def _json(source: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(source)
    except TypeError:  # integers of more than 64 bits
        return json.dumps(source, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Outcome:
    """The outcome of one write.

    Attributes:
        status: HTTP status of the item; 409 if a later revision exists, 404 if there was
            nothing to delete.
        reason: of a refusal, or "".
    """

    status: int
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether the index has this revision, or a later one."""
        return self.status < 300 or self.status in (_CONFLICT, _MISSING)  # noqa: PLR2004


@dataclass(frozen=True)
class Bulk:
    """Writes to Elasticsearch.

    Attributes:
        client: of the server.
        max_bytes: of a request's body; a node accepts a tenth of its heap in total.
        max_actions: of a request.
        patience: seconds to retry while the server is busy or not reachable.
        first_wait: seconds before the first retry; doubled each time, with random jitter.
        longest_wait: seconds.
        sleep: replaced in tests.
    """

    client: Elasticsearch
    max_bytes: int = 8 * 2**20
    max_actions: int = 1000
    patience: float = 120.0
    first_wait: float = 0.25
    longest_wait: float = 15.0
    sleep: Callable[[float], None] = time.sleep

    def write(self, actions: Sequence[bytes], *, refresh: bool = False) -> list[Outcome]:
        """Write, and return the outcome of each action in order.

        Args:
            actions: from `write` and `deletion`.
            refresh: make them visible to searches before returning.

        Raises:
            GalleryUnreachable: the server was still busy when patience ended. Some actions may
                have been written; repeat all of them.
        """
        outcomes: list[Outcome | None] = [None] * len(actions)
        waiting = list(range(len(actions)))
        deadline = time.monotonic() + self.patience
        wait = self.first_wait
        while waiting:
            for place, outcome in zip(waiting, self._once(actions, waiting, refresh), strict=True):
                outcomes[place] = outcome
            waiting = [i for i in waiting if (o := outcomes[i]) is None or o.status in PASSING]
            if waiting and time.monotonic() + wait > deadline:
                raise GalleryUnreachable(
                    f"{len(waiting)} of {len(actions)} documents could not be written within "
                    f"{self.patience:.0f} s ({_why(outcomes, waiting)}): check that Elasticsearch "
                    "runs and keeps up, then repeat the call, which is safe."
                )
            if waiting:
                self.sleep(wait * random.uniform(0.5, 1))
                wait = min(2 * wait, self.longest_wait)
        return [outcome for outcome in outcomes if outcome is not None]

    def _once(
        self, actions: Sequence[bytes], places: Sequence[int], refresh: bool
    ) -> Iterator[Outcome]:
        """Write the actions at these places once, and yield their outcomes."""
        client = self.client.options(max_retries=0)
        answered_count = 0
        some = (actions[i] for i in places)
        for chunk in _chunks(some, self.max_actions, self.max_bytes):
            # The client accepts serialised lines, despite its types; joined, because it
            # inspects each item.
            operations: Any = [b"\n".join(chunk)]
            try:
                answer = client.bulk(operations=operations, refresh=refresh, filter_path=_WANTED)
            except TransportError as error:
                if distrust(error):  # retries do not help
                    with answered("a bulk write"):
                        raise
                yield from [Outcome(_UNAVAILABLE, str(error))] * (len(places) - answered_count)
                return
            except ApiError as error:
                _check_is_about_items(error)
                yield from [Outcome(error.status_code, str(error))] * len(chunk)
            else:
                yield from map(_outcome_of, answer["items"])
            answered_count += len(chunk)


def check_held(outcomes: Mapping[str, Outcome]) -> None:
    """Raise DocumentsRefused if Elasticsearch refused documents; `outcomes` are by id."""
    reasons = {
        id_: f"Elasticsearch refused it ({o.reason or o.status}): change that field, or map it."
        for id_, o in outcomes.items()
        if not o.done
    }
    if reasons:
        id_, reason = next(iter(reasons.items()))
        raise DocumentsRefused(
            f"{len(reasons)} of {len(outcomes)} documents were refused, such as {id_!r}: {reason}",
            reasons,
        )


def _chunks(actions: Iterable[bytes], max_actions: int, max_bytes: int) -> Iterator[list[bytes]]:
    """Split into chunks, one per request; an action of more bytes gets its own."""
    chunk: list[bytes] = []
    size = 0
    for one in actions:
        own = len(one) + 1
        if chunk and (len(chunk) >= max_actions or size + own > max_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += own
    if chunk:
        yield chunk


def _check_is_about_items(error: ApiError) -> None:
    """Raise if the whole request was refused permanently."""
    if error.status_code == _TOO_LARGE:
        raise ContractError(
            "A bulk request is larger than Elasticsearch or a proxy before it allows (413): raise "
            f"its limit above {Bulk.max_bytes // 2**20} MB."
        ) from error
    if error.status_code not in PASSING:
        with answered("a bulk write"):
            raise error


def _outcome_of(item: dict[str, Any]) -> Outcome:
    """The outcome in the response for one item."""
    operation, answer = next(iter(item.items()))
    error = answer.get("error")
    if error is None and answer["status"] < 300:  # noqa: PLR2004 - nearly always
        return _written(answer["status"])
    if _MAPPING_IS_LATE in (reason := reason_of(answer)):
        return Outcome(_UNAVAILABLE, reason)
    _check_is_about_the_item(operation, answer)
    return Outcome(answer["status"], reason_of({"error": error}) if error else "")


@cache
def _written(status: int) -> Outcome:
    return Outcome(status)


def _check_is_about_the_item(operation: str, answer: dict[str, Any]) -> None:
    """Raise for errors that no document causes, so that none becomes a reject.

    Raises:
        ContractError: the index does not accept writes.
        GalleryNotFound: the index does not exist.
    """
    status = answer["status"]
    if status == _MISSING and operation != "delete":
        raise GalleryNotFound(
            f"The index to write to does not exist ({reason_of(answer)}): create it with "
            "`camsearch gallery create`."
        )
    if status in _NOT_OURS:
        raise ContractError(
            f"Elasticsearch refuses every write ({reason_of(answer)}): check permissions, blocks "
            "of the index, and its log."
        )


def _why(outcomes: Sequence[Outcome | None], waiting: Sequence[int]) -> str:
    first = outcomes[waiting[0]]
    return first.reason[:200] if first and first.reason else "no answer"
