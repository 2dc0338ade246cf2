"""Many writes in one request: capped by bytes, each item's answer read, refused ones tried again."""

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


def write(index: str, id_: str, source: Mapping[str, Any], revision: int | None = None) -> bytes:
    """A document's lines of a bulk request; with a revision a later one wins against it."""
    return b"%b\n%b" % (_line("index", index, id_, revision), _json(source))


def deletion(index: str, id_: str, revision: int | None = None) -> bytes:
    """A deletion's line; with a revision it leaves what is later."""
    return _line("delete", index, id_, revision)


def _line(operation: str, index: str, id_: str, revision: int | None) -> bytes:
    about: dict[str, Any] = {"_index": index, "_id": id_}
    if revision is not None:
        about |= {"version": revision, "version_type": "external_gte"}
    return orjson.dumps({operation: about})


def _json(source: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(source)
    except TypeError:  # whole numbers of more than 64 bits, which Elasticsearch may take as text
        return json.dumps(source, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Outcome:
    """What became of one write.

    Attributes:
        status: HTTP status of the item; 409 where a later revision is there, 404 where
            there was nothing to delete.
        reason: why it was refused; "" if it was not.
    """

    status: int
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether the index is as the write wants it, or newer."""
        return self.status < 300 or self.status in (_CONFLICT, _MISSING)  # noqa: PLR2004


@dataclass(frozen=True)
class Bulk:
    """Writes to Elasticsearch.

    Attributes:
        client: of the server.
        max_bytes: of a request's body; a tenth of the heap of a node is its limit for all.
        max_actions: of a request.
        patience: seconds to try again what is refused because the server is busy or away.
        first_wait: seconds before the second try; doubled each time, and drawn at random
            below that, so that many workers do not come back all at once.
        longest_wait: seconds.
        sleep: waits; a test's own may not.
    """

    client: Elasticsearch
    max_bytes: int = 8 * 2**20
    max_actions: int = 1000
    patience: float = 120.0
    first_wait: float = 0.25
    longest_wait: float = 15.0
    sleep: Callable[[float], None] = time.sleep

    def write(self, actions: Sequence[bytes], *, refresh: bool = False) -> list[Outcome]:
        """Write, and say of each what became of it, in their order.

        Args:
            actions: of `write` and `deletion`.
            refresh: make them visible to searches before answering.

        Raises:
            GalleryUnreachable: if some are still refused for now when patience ends; which
                of the others are written is not known then, so write all again.
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
                    "runs and keeps up; what was asked can be written again safely."
                )
            if waiting:
                self.sleep(wait * random.uniform(0.5, 1))
                wait = min(2 * wait, self.longest_wait)
        return [outcome for outcome in outcomes if outcome is not None]

    def _once(
        self, actions: Sequence[bytes], places: Sequence[int], refresh: bool
    ) -> Iterator[Outcome]:
        """One try of the actions at these places."""
        client = self.client.options(max_retries=0)
        said = 0
        some = (actions[i] for i in places)
        for chunk in _chunks(some, self.max_actions, self.max_bytes):
            # The client takes lines that are written already, whatever its types say, and
            # looks at each that it is given: so all as one.
            operations: Any = [b"\n".join(chunk)]
            try:
                answer = client.bulk(operations=operations, refresh=refresh, filter_path=_WANTED)
            except TransportError as error:
                if distrust(error):  # which no patience mends
                    with answered("a bulk write"):
                        raise
                yield from [Outcome(503, str(error))] * (len(places) - said)
                return
            except ApiError as error:
                _check_is_about_items(error)
                yield from [Outcome(error.status_code, str(error))] * len(chunk)
            else:
                yield from map(_outcome_of, answer["items"])
            said += len(chunk)


def check_held(outcomes: Mapping[str, Outcome]) -> None:
    """Say which documents Elasticsearch will never take.

    Args:
        outcomes: by the documents' ids.

    Raises:
        DocumentsRefused: if there are any.
    """
    reasons = {
        id_: f"Elasticsearch cannot hold it ({o.reason or o.status}): change that field, or map it."
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
    """Portions for a request each; an action of more bytes than that goes by itself."""
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
    """Raise where a whole request is refused, and not for now only."""
    if error.status_code == _TOO_LARGE:
        raise ContractError(
            "A bulk request is larger than something before Elasticsearch allows (413): raise its "
            f"limit above {Bulk.max_bytes // 2**20} MB."
        ) from error
    if error.status_code not in PASSING:
        with answered("a bulk write"):
            raise error


def _outcome_of(item: dict[str, Any]) -> Outcome:
    """One item's answer."""
    operation, answer = next(iter(item.items()))
    error = answer.get("error")
    if error is None and answer["status"] < 300:  # noqa: PLR2004 - nearly always
        return _written(answer["status"])
    _check_is_about_the_item(operation, answer)
    return Outcome(answer["status"], reason_of({"error": error}) if error else "")


@cache
def _written(status: int) -> Outcome:
    return Outcome(status)


def _check_is_about_the_item(operation: str, answer: dict[str, Any]) -> None:
    """Refuse what is no fault of a document: it would be listed as bad, and its old one deleted.

    Raises:
        ContractError: the index takes no writes.
        GalleryNotFound: the index is gone.
    """
    status = answer["status"]
    if status == _MISSING and operation != "delete":
        raise GalleryNotFound(
            f"The index to write to is gone ({reason_of(answer)}): make it with "
            "`camsearch gallery create`."
        )
    if status in _NOT_OURS:
        raise ContractError(
            f"Elasticsearch refuses every write ({reason_of(answer)}): check rights, blocks of the "
            "index, and its log."
        )


def _why(outcomes: Sequence[Outcome | None], waiting: Sequence[int]) -> str:
    first = outcomes[waiting[0]]
    return first.reason[:200] if first and first.reason else "no answer"
