"""The worker: indexes chunks of images into a gallery in Elasticsearch.

A task may be delivered more than once. Writes are idempotent and each chunk is counted once. A
chunk that fails too often is divided, and an image that fails alone is listed with the reason.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from redis.exceptions import RedisError
from safetensors import SafetensorError

from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import ArtifactError, RequestError, SettingsError, written
from descriptors.settings import MethodSettings
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_bulk import Bulk
from es_mappings.indices import open_gallery
from galleries.about import features_of, method_about, regions_about
from galleries.errors import ContractError, GalleryNotFound, GalleryUnreachable
from indexer.documents import make_reject
from indexer.encoding import check_enough, collect_vectors, learn_classes
from indexer.ledger import WorkerState
from indexer.pipeline import index_sources
from indexer.progress import Chunk, Progress, Result
from indexer.reading import IndexingPlan
from indexer.sources import Source, id_of_address
from indexer.web import WebAccess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elasticsearch import Elasticsearch

    from descriptors.machine import Machine
    from descriptors.method import Method
    from es_mappings.elastic_client import Server
    from indexer.ledger import Ledger
    from indexer.settings import IndexerSettings

__all__ = ["GalleryWorker", "TryAgain"]

_BEAT_SECONDS = 1.0  # readers look at minutes


class TryAgain(Exception):
    """The task must be retried after `seconds`."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason, seconds)
        self.seconds = seconds


class GalleryWorker:
    """Keeps a network loaded, and indexes chunks with it."""

    def __init__(
        self,
        client: Elasticsearch,
        ledger: Ledger,
        settings: IndexerSettings,
        machine: Machine,
        *,
        bulk: Bulk | None = None,
    ) -> None:
        """Keep the parts; the network is loaded by the first task."""
        self.client, self.ledger, self.settings = client, ledger, settings
        self.machine, self._bulk = machine, bulk or Bulk(client)
        self._method: tuple[str, Method] | None = None
        self._server: Server | None = None
        # Parsed here, so that an invalid host stops the worker at its start.
        self._web = WebAccess.listed(settings.web_hosts)
        now_ = time.time()
        name = f"{socket.gethostname()}-{os.getpid()}"
        self._state = WorkerState(name, machine.device, 0, now_, now_)

    def gallery(self, name: str) -> ElasticGallery:
        """Open the index that workers write to.

        Raises:
            GalleryNotFound: there is no such gallery.
            GalleryUnreachable: Elasticsearch does not answer.
        """
        opened = open_gallery(self.client, name, self._bulk, self._server)
        self._server = opened.server  # requested once
        return opened

    def method(self, gallery: ElasticGallery) -> Method:
        """The method of a gallery; the last one used stays loaded.

        Raises:
            FingerprintMismatch, ArtifactError: see `method_about`.
        """
        if self._method is None or self._method[0] != gallery.fingerprint:
            # Released first, so that memory holds one network.
            self._method = None
            self._method = gallery.fingerprint, method_about(gallery.settings, self.machine)
        return self._method[1]

    def index(self, chunk: Chunk) -> Result:
        """Index a chunk, or give it up if it has failed too often.

        Raises:
            TryAgain: the chunk must be retried.
        """
        attempt = self.ledger.begin_attempt(chunk.id)
        most = self.settings.attempts
        if attempt > most:
            reason = f"It killed its worker {most} times: look at the image and the log."
            return self._given_up(chunk, "worker_lost", reason, divide=True)
        try:
            progress = self._index(chunk)
        except GalleryUnreachable as error:
            self.ledger.forgive(chunk.id)
            raise TryAgain(error.reason, self._wait(attempt)) from error
        except RedisError:
            raise
        except Exception as error:  # images, libraries and disks fail in many ways
            if attempt < most:
                raise TryAgain(str(error), self._wait(attempt)) from error
            kind = type(error).__name__
            # A full disk or a missing gallery is not caused by one of the images.
            divide = not isinstance(error, ContractError | ArtifactError | SettingsError)
            return self._given_up(chunk, "failed_repeatedly", f"{kind}: {error}", divide=divide)
        return self._finished(chunk, progress, {})

    def delete(self, ids: Sequence[str], gallery: str) -> int:
        """Delete images and their maps; returns how many existed.

        Raises:
            TryAgain: Elasticsearch does not answer.
        """
        try:
            opened = self.gallery(gallery)
            gone = opened.delete(ids)
        except GalleryUnreachable as error:
            raise TryAgain(error.reason, self._wait(1)) from error
        features = features_of(opened.settings)
        if features is not None:
            features.delete(ids)
            features.close()
        return len(gone)

    def fit(
        self, uris: Sequence[str], out: str, changed: dict[str, Any], learned: int = 0
    ) -> dict[str, Any]:
        """Fit a whitening, and perhaps classes; see the task `fit_whitening`.

        Raises:
            RequestError: for invalid settings, too few images, or a path that is not writable.
        """
        if not out.endswith(".safetensors"):
            raise RequestError(f"The file to write is {out!r}: its name must end in .safetensors.")
        try:
            settings = MethodSettings.model_validate(MethodSettings().model_dump() | changed)
        except ValidationError as error:
            raise RequestError(
                f"These settings are not valid: {error.errors()[0]['msg']}."
            ) from error
        network = load_network(settings.network)
        encoder = Encoder(network, settings, self.machine.device, self.machine.precision)
        sources, plan = [Source(uri, uri) for uri in uris], self._plan()
        classes = learn_classes(encoder, sources, plan, learned) if learned else None
        collected = collect_vectors(encoder, sources, plan, classes=classes)
        check_enough(collected.images, settings)
        whitening = collected.fit(f"{collected.images} images, by a task")
        with written(out, SafetensorError):
            whitening.save(Path(out))
        return {"images": collected.images, "digest": whitening.digest()}

    def _index(self, chunk: Chunk) -> Progress:
        gallery = self.gallery(chunk.gallery)
        method = self.method(gallery)
        features = features_of(gallery.settings)
        before = self._state.images

        def beat(progress: Progress) -> None:
            if time.time() - self._state.last_progress >= _BEAT_SECONDS:
                self._beat(before + progress.finished)

        try:
            plan = self._plan(
                again=chunk.again,
                retry_rejects=chunk.retry_rejects,
                coarse_maps=regions_about(gallery.settings).coarse_maps,
                class_names=method.class_names,
            )
            progress = index_sources(chunk.sources, method, gallery, features, plan, beat)
            self._beat(before + progress.finished)
            return progress
        finally:
            if features is not None:
                features.close()

    def _plan(self, **more: Any) -> IndexingPlan:
        return IndexingPlan.on(self.machine, web=self._web, **more)

    def _given_up(self, chunk: Chunk, kind: str, reason: str, *, divide: bool) -> Result:
        """Divide a chunk, or list its images as failed."""
        if divide and len(chunk.sources) > 1:
            return Result(apart=chunk.apart())
        done: set[str] = set()
        try:
            with suppress(GalleryNotFound):  # then only the ledger lists them
                done = self._list_as_rejects(chunk, kind, reason)
        except ContractError as error:  # such as expired credentials
            self.ledger.forgive(chunk.id)
            raise TryAgain(error.reason, self._wait(1)) from error
        sources = (s for s in chunk.sources if s.id not in done)
        failed = {s.id or id_of_address(s.uri): reason for s in sources}
        return self._finished(chunk, Progress(unchanged=len(done)), failed)

    def _list_as_rejects(self, chunk: Chunk, kind: str, reason: str) -> set[str]:
        """Write rejects for a chunk; returns the ids that an earlier attempt has indexed."""
        gallery = self.gallery(chunk.gallery)
        # Images indexed before are kept, since the new version is not known to be bad.
        staying, _ = gallery.known([source.id for source in chunk.sources])
        rejects = [
            make_reject(source, kind, reason)
            for source in chunk.sources
            if source.id not in staying
        ]
        gallery.put_rejects(rejects)
        # An attempt may have failed after a part of the chunk was written.
        return {
            s.id
            for s in chunk.sources
            if s.id in staying and staying[s.id].revision >= s.revision and not chunk.again
        }

    def _finished(self, chunk: Chunk, progress: Progress, failed: dict[str, str]) -> Result:
        if chunk.run:
            self.ledger.count(chunk.run, chunk.id, progress, failed)
        self.ledger.end_attempts(chunk.id)
        return Result(progress, failed)

    def _beat(self, images: int) -> None:
        self._state = replace(self._state, images=images, last_progress=time.time())
        with suppress(RedisError):  # not essential
            self.ledger.beat(self._state)

    def _wait(self, attempt: int) -> float:
        """Seconds before the next attempt, less than the visibility timeout."""
        return min(2.0**attempt, 60.0, self.settings.visibility_timeout / 3)
