"""Many writes in one request: capped by bytes, each item's answer read, refused ones tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elastic_transport import TransportError
from elasticsearch import ApiError, helpers

from es_mappings.elastic_client import PASSING, answered, reason_of
from es_mappings.errors import ContractError, GalleryNotFound, GalleryUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from elasticsearch import Elasticsearch

__all__ = ["Bulk", "Outcome"]

Action = dict[str, Any]

_CONFLICT = 409
_MISSING = 404
_TOO_LARGE = 413
_NOT_OURS = frozenset({401, 403, 500})


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
        most_bytes: of a request's body; a tenth of the heap of a node is its limit for all.
        most_actions: of a request.
        patience: seconds to try again what is refused because the server is busy or away.
        first_wait: seconds before the second try; doubled each time, and drawn at random
            below that, so that many workers do not come back all at once.
        longest_wait: seconds.
        sleep: waits; a test's own may not.
    """

    client: Elasticsearch
    most_bytes: int = 8 * 2**20
    most_actions: int = 1000
    patience: float = 120.0
    first_wait: float = 0.25
    longest_wait: float = 15.0
    sleep: Callable[[float], None] = time.sleep

    def write(self, actions: Sequence[Action], *, refresh: bool = False) -> list[Outcome]:
        """Write, and say of each what became of it, in their order.

        Args:
            actions: as `elasticsearch.helpers.bulk` takes them.
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
        self, actions: Sequence[Action], places: Sequence[int], refresh: bool
    ) -> Iterator[Outcome]:
        """One try of the actions at these places."""
        answers = helpers.streaming_bulk(
            self.client.options(max_retries=0),
            [actions[i] for i in places],
            chunk_size=self.most_actions,
            max_chunk_bytes=self.most_bytes,
            raise_on_error=False,
            raise_on_exception=False,
            refresh=refresh,
            filter_path="errors,items.*.status,items.*.error",
        )
        said = 0
        try:
            for _, item in answers:
                said += 1
                operation, answer = next(iter(item.items()))
                _check_is_about_the_item(operation, answer)
                yield _outcome(answer)
        except TransportError as error:
            yield from [Outcome(503, str(error))] * (len(places) - said)


def _check_is_about_the_item(operation: str, answer: dict[str, Any]) -> None:
    """Refuse what is no fault of a document: it would be listed as bad, and its old one deleted.

    Raises:
        ContractError: the whole request was refused, or the index takes no writes.
        GalleryNotFound: the index is gone.
    """
    whole, status = answer.get("exception"), answer.get("status")
    if isinstance(whole, ApiError) and whole.status_code == _TOO_LARGE:
        raise ContractError(
            "A bulk request is larger than something before Elasticsearch allows (413): raise its "
            f"limit above {Bulk.most_bytes // 2**20} MB."
        )
    if isinstance(whole, ApiError) and whole.status_code not in PASSING:
        with answered("a bulk write"):
            raise whole
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


def _outcome(item: dict[str, Any]) -> Outcome:
    """One item's answer, or what the client put in its place."""
    status = item.get("status", 503)
    status = status if isinstance(status, int) else 503
    if isinstance(item.get("exception"), TransportError):
        return Outcome(503, str(item["exception"]))
    error = item.get("error")
    return Outcome(status, reason_of({"error": error}) if error else "")


def _why(outcomes: Sequence[Outcome | None], waiting: Sequence[int]) -> str:
    first = outcomes[waiting[0]]
    return first.reason[:200] if first and first.reason else "no answer"
