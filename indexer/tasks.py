"""The public Celery tasks: JSON in, JSON out, called by name from any app on the same Redis.

app.send_task("camsearch.index_images", queue="camsearch",
              args=[[{"id": "a", "uri": "s3://bucket/a.jpg", "meta": {"city": "Paris"}}]],
              kwargs={"gallery": "images"})
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.exceptions import Reject as SendBack
from kombu.exceptions import OperationalError
from kombu.utils import json  # encodes datetime, Decimal and UUID, as the queue does
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError

from descriptors.errors import RequestError
from galleries.checks import MAX_ID_BYTES, MAX_META_DEPTH, check_json, fits_as_id, is_unicode
from galleries.errors import MalformedDocument
from indexer.enqueueing import INDEX_IMAGES, task_text
from indexer.errors import MalformedRow
from indexer.progress import Chunk
from indexer.sources import Source, id_of_address
from indexer.worker import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery import Celery, Task

    from indexer.ledger import Ledger
    from indexer.settings import IndexerSettings
    from indexer.worker import GalleryWorker

__all__ = ["register"]

# ``meta`` itself is one level, and the values in its deepest object are another.
_MAX_LEVELS = MAX_META_DEPTH + 2


class _Image(BaseModel):
    """An image in a task's arguments."""

    model_config = ConfigDict(extra="forbid", strict=True)

    uri: str = Field(min_length=1)
    id: str | None = None
    meta: dict[str, Any] | None = None
    revision: int | None = Field(None, ge=0, lt=2**63)
    problem: str | None = None


def register(
    app: Celery, settings: IndexerSettings, open_worker: Callable[[], GalleryWorker]
) -> None:
    """Add the tasks to an app; `open_worker` is called once, at the first task."""
    worker = cache(open_worker)

    @app.task(name=INDEX_IMAGES, bind=True, shared=False, max_retries=None)
    def index_images(  # noqa: PLR0913 - the signature is public
        self: Task,
        images: Any,
        gallery: str | None = None,
        run: str = "",
        chunk: str | None = None,
        *,
        again: bool = False,
        retry_rejects: bool = False,
    ) -> dict[str, Any]:
        """Index images.

        Args:
            images: objects with ``uri``, and optionally ``id`` (default: the digest of the
                bytes), ``meta`` and ``revision`` (a number; a later write of the same id needs
                one at least as high; default: the time at which the worker takes the task).
            gallery: name of the gallery; default: the worker's.
            run, chunk: set by `camsearch enqueue`; leave them out.
            again: encode unchanged images again.
            retry_rejects: retry unchanged images that were refused before.

        Returns:
            Counts: indexed, unchanged, updated, rejected, out_of_reach; ``failed`` (reasons by
            id), ``divided`` (number of tasks sent in its place).
        """
        sources = tuple(sources_of(images))
        name = gallery or settings.images
        key = chunk or _digest_of(images, name, self.request.id)
        work = Chunk(key, sources, name, run, again, retry_rejects)
        result = _done(self, lambda: worker().index(work))
        if result.apart:
            _send_parts(self, worker().ledger, work, result.apart, images, settings.queue)
        counts = asdict(result.progress)
        del counts["asked"]
        return counts | {"failed": result.failed, "divided": len(result.apart)}

    @app.task(name="camsearch.delete_images", bind=True, shared=False, max_retries=None)
    def delete_images(self: Task, ids: Any, gallery: str | None = None) -> int:
        """Delete images by id, with their maps and rejects; returns how many existed."""
        if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
            raise RequestError("delete_images needs a list of ids, each a string.")
        gone: int = _done(self, lambda: worker().delete(ids, gallery or settings.images))
        return gone

    @app.task(name="camsearch.fit_whitening", bind=True, shared=False, max_retries=None)
    def fit_whitening(
        self: Task,
        uris: list[str],
        out: str,
        method: dict[str, Any] | None = None,
        learned: int = 0,
    ) -> dict[str, Any]:
        """Fit a whitening.

        Args:
            uris: images to fit on, distinct from those to be searched.
            out: file to write, ending in .safetensors, readable by all workers.
            method: method settings that differ from the defaults.
            learned: number of classes to learn; 0 for the network's own.

        Returns:
            ``images``: number of images read; ``digest``: of the whitening.
        """
        done: dict[str, Any] = _done(self, lambda: worker().fit(uris, out, method or {}, learned))
        return done


def sources_of(images: object) -> Iterator[Source]:
    """Parse the images of a task; a malformed entry is a source with a `problem`.

    Raises:
        RequestError: for anything but a list.
    """
    if not isinstance(images, list):
        raise RequestError('index_images needs a list of objects: [{"id": …, "uri": …}].')
    now = time.time_ns() // 1_000_000
    for image in images:
        yield _source(image, now)


def _source(image: object, now: int) -> Source:
    try:
        asked = _Image.model_validate(image)
    except ValidationError as error:
        return _malformed(image, error)
    problem = None if asked.problem is None else MalformedRow(asked.problem)
    revision = now if asked.revision is None else asked.revision
    id_, meta = asked.id or "", {}
    if id_ and not fits_as_id(id_):
        problem = MalformedRow(
            f"The id {id_[:100]!a} is not 1 to {MAX_ID_BYTES} bytes of UTF-8: send a shorter one."
        )
        id_ = id_of_address(id_)
    try:
        meta = _plain(asked.meta or {})
        check_json(id_ or asked.uri, meta)
    except (MalformedDocument, MalformedRow) as error:
        problem, meta = problem or MalformedRow(error.reason), {}
    if not is_unicode(asked.uri):
        problem = problem or MalformedRow(
            f"The uri {asked.uri[:100]!a} is not Unicode text: remove the lone surrogate."
        )
        id_ = id_ or id_of_address(asked.uri)
    return Source(id_, asked.uri, meta, problem, revision)


def _plain(value: Any, level: int = 1) -> Any:
    """Metadata with times as ISO 8601, and Decimal and UUID as text, which the queue decodes.

    Raises:
        MalformedRow: lists and objects are nested too deep.
    """
    if level > _MAX_LEVELS:
        raise MalformedRow(
            f"Its meta is nested deeper than {_MAX_LEVELS} levels: send fewer, or a string."
        )
    match value:
        case dict():
            return {name: _plain(one, level + 1) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one, level + 1) for one in value]
        case datetime() | date():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
    return value


def _malformed(image: object, error: ValidationError) -> Source:
    """A source for an invalid entry, so that it is listed as a reject."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "it"
    problem = MalformedRow(
        f"This entry is not valid ({where}: {first['msg']}): send an object with uri, and "
        "optionally id, meta and revision."
    )
    text = _sorted_json(image) or f"{type(image).__name__} that is not JSON"
    given = image.get("id") if isinstance(image, dict) else None
    id_ = given if isinstance(given, str) and fits_as_id(given) else id_of_address(text)
    return Source(id_, text[:500], problem=problem)


def _digest_of(images: object, gallery: str, task: str) -> str:
    """A digest of the images; the id of the task if they are not JSON."""
    text = _sorted_json([gallery, images])
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32] if text else task


def _sorted_json(value: object) -> str:
    """The value as JSON; "" if it is not JSON, such as sets and deep nesting."""
    try:
        return str(json.dumps(value, sort_keys=True))
    except (TypeError, ValueError, RecursionError):
        return ""


def _done(task: Task, work: Callable[[], Any]) -> Any:
    """Do the work of a task, or send the task back to the queue.

    Convention:
        An exception ends a task. Only errors of the caller may (`RequestError`,
        `GalleryNotFound`); all others are retried.
    """
    try:
        return work()
    except TryAgain as again:
        try:
            raise task.retry(exc=again, countdown=again.seconds)
        except SendBack as error:
            # Celery could not send the retry, and would drop the task.
            raise SendBack(str(error.reason), requeue=True) from error
    except RedisError as error:
        # A retry needs Redis, which delivers the task again when it is back.
        raise SendBack(str(error), requeue=True) from error


def _send_parts(
    task: Task, ledger: Ledger, chunk: Chunk, parts: Sequence[Chunk], images: Any, queue: str
) -> None:
    """Send a task for each part of a chunk, with its image as the caller sent it."""
    shared: dict[str, Any] = {"gallery": chunk.gallery, "run": chunk.run}
    shared |= {"again": chunk.again, "retry_rejects": chunk.retry_rejects}
    calls = {
        part.id: ([image], shared | {"chunk": part.id})
        for part, image in zip(parts, images, strict=True)
    }
    if chunk.run:
        texts = {i: task_text(one, named, queue) for i, (one, named) in calls.items()}
        left = _done(task, lambda: ledger.divide(chunk.run, chunk.id, texts))
        calls = {id_: call for id_, call in calls.items() if id_ in left}
    for one, named in calls.values():
        try:
            task.app.send_task(INDEX_IMAGES, args=[one], kwargs=named)
        except OperationalError as error:
            raise SendBack(str(error), requeue=True) from error
