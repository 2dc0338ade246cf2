"""The proxy as the settings name it: over an Elasticsearch, or over a gallery in a folder."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from camsearch.library import PictureLibrary
from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings
from es_mappings.about import features_of, method_about, regions_about
from es_mappings.features import FeatureStore
from indexer.addresses import read_source
from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan
from indexer.web import WebAccess, fetch
from reranker.app import make_app
from reranker.errors import UpstreamUnreachable
from reranker.exchange import Request
from reranker.local_elasticsearch.upstream import LocalUpstream
from reranker.operations.tracing import tracing_as_named
from reranker.passing.upstream import ElasticsearchUpstream, UpstreamSettings
from reranker.service import Service, ServiceParts
from reranker.settings import TracesSettings
from reranker.visual.contract import abouts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from camsearch.settings import CommandSettings
    from descriptors.images import ImageLimits
    from descriptors.machine import Machine
    from descriptors.method import Method
    from es_mappings.documents import IndexedPicture
    from es_mappings.kept_maps import KeptMaps
    from reranker.exchange import Answer, Upstream

    _Told = Callable[[str], None]
    _About = Mapping[str, Any] | None

__all__ = ["Following", "ServedMethod", "over_elasticsearch", "over_folder"]

_log = logging.getLogger(__name__)

_OK = 200
# Servers start in any order; one that starts may answer before it knows its indices, and a balancer
# before it has one to ask.
_NOT_YET = frozenset({429, 502, 503, 504})
_BETWEEN_S = 1.0
# An index that comes, or that is another, is seen after so long.
_LOOKED_AFTER_S = 10.0
_SHOWN_TO_NO_STRANGER = frozenset({401, 403})


@dataclass(frozen=True)
class ServedMethod:
    """What describes the queries, where the index does not tell or shall not be asked.

    Attributes:
        settings, regions: None for those of the index, or of the default preset.
        whitening, weights: files; None for the index's, or the packaged.
        maps: address of the kept maps; None for the index's.
    """

    settings: MethodSettings | None = None
    regions: RegionSettings | None = None
    whitening: Path | None = None
    weights: Path | None = None
    maps: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether the method is named, so that the index need not be asked."""
        return self.settings is not None or self.whitening is not None or self.weights is not None


@contextmanager
def over_folder(folder: Path, settings: CommandSettings, machine: Machine) -> Iterator[Service]:
    """A service over a local gallery.

    Raises:
        GalleryNotFound, GalleryDamaged: if there is none to read.
    """
    with PictureLibrary.open(folder, machine) as library:
        parts = ServiceParts(
            library.method,
            library.regions,
            LocalUpstream(library.gallery, settings.images),
            library.features,
            machine.limits,
            _encoding(library.method, machine, WebAccess()),
            _fetching(settings, machine.limits),
            settings.images,
            _reading(machine.limits, WebAccess()),
        )
        with closing(_started(parts, settings)) as service:
            yield service


@contextmanager
def over_elasticsearch(
    settings: CommandSettings,
    machine: Machine,
    given: ServedMethod,
    wait: Callable[[Callable[[_Told], Coroutine[Any, Any, _About]]], _About],
) -> Iterator[Following]:
    """The application over an Elasticsearch, once that answers.

    Args:
        settings: name Elasticsearch and the gallery.
        machine: where the network runs.
        given: what is not to be read from the index.
        wait: runs what waits for Elasticsearch, and tells callers meanwhile what it is told.

    Raises:
        SettingsError: the address of Elasticsearch is none.
        ArtifactError, FingerprintMismatch: what the index names is not here.
    """
    at = UpstreamSettings(settings.elasticsearch, ca_file=settings.ca_certs)
    upstream = ElasticsearchUpstream(at)
    about = wait(lambda told: _about(at, settings.images, told))
    web = WebAccess.listed(settings.web_hosts)

    def made(about: _About) -> Service:
        method, regions, features = _method(about, given, machine)
        parts = ServiceParts(
            method,
            regions,
            upstream,
            features,
            machine.limits,
            _encoding(method, machine, web),
            _fetching(settings, machine.limits),
            settings.images,
            _reading(machine.limits, web),
        )
        return _started(parts, settings)

    app = Following(upstream, settings.images, made, about, follows=not given.is_given)
    try:
        yield app
    finally:
        app.service.close()


def _started(parts: ServiceParts, settings: CommandSettings) -> Service:
    service = Service(parts, settings, tracing_as_named(TracesSettings()))
    try:
        service.warm_up()
    except BaseException:
        service.close()
        raise
    return service


@dataclass
class _InUse:
    """A service, what it was made of, and how many requests it answers now."""

    service: Service
    about: _About
    requests: int = 0

    def __post_init__(self) -> None:
        self.app = make_app(self.service)


class Following:
    """An ASGI application of an index's method, also where that comes or changes meanwhile.

    Convention:
        A request is answered by the service that took it, which is closed after the last one.
    """

    def __init__(
        self,
        upstream: Upstream,
        index: str,
        made: Callable[[_About], Service],
        about: _About,
        *,
        follows: bool = True,
    ) -> None:
        """Make the first service.

        Args:
            upstream: has the index; is closed with the application.
            index: whose method is used.
            made: makes a service of what an index says of its method; None for the packaged one.
            about: what it says now; None if it is not there.
            follows: whether it is asked again.
        """
        self._upstream, self._index, self._made, self._follows = upstream, index, made, follows
        self._now = _InUse(made(about), about)
        self._last = ""

    @property
    def service(self) -> Service:
        """Which takes the next request."""
        return self._now.service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; follow the index from the server's start to its end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        now = self._now
        now.requests += 1
        try:
            await now.app(scope, receive, send)
        finally:
            now.requests -= 1
            await self._close_if_unused(now)

    async def look(self) -> None:
        """Ask the index once, and change to its method if that is another."""
        try:
            answer = await self._upstream.ask(_mapping_of(self._index))
            self._follows = answer.status not in _SHOWN_TO_NO_STRANGER
            found = [*abouts_of(orjson.loads(answer.body)).values()] if answer.status == _OK else []
            if not found or self._now.about in found:
                return
            service = await asyncio.to_thread(self._made, found[0])
        except Exception as error:  # noqa: BLE001  whatever it is, the service that runs goes on
            if str(error) != self._last:
                self._last = str(error)
                _log.warning("The method of [%s] cannot be taken up: %s", self._index, error)
            return
        before, self._now, self._last = self._now, _InUse(service, found[0]), ""
        _log.info("Queries are described as [%s] says from now on.", self._index)
        await self._close_if_unused(before)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        following = asyncio.create_task(self._follow())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await self._upstream.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _follow(self) -> None:
        while self._follows:
            await asyncio.sleep(_LOOKED_AFTER_S)
            await self.look()

    async def _close_if_unused(self, one: _InUse) -> None:
        if one is not self._now and not one.requests:
            await asyncio.to_thread(one.service.close)


def _method(
    about: Mapping[str, Any] | None, given: ServedMethod, machine: Machine
) -> tuple[Method, RegionSettings, FeatureStore | None]:
    if about is not None and not given.is_given:
        method, regions = method_about(about, machine), regions_about(about)
    else:
        settings = given.settings or MethodSettings()
        method = method_of(settings, given.whitening, given.weights, machine)
        regions = given.regions or RegionSettings()
    if given.maps is not None:
        return method, regions, FeatureStore(given.maps, method.fingerprint())
    if about is not None and about.get("fingerprint") == method.fingerprint():
        return method, regions, features_of(about)
    return method, regions, None


async def _about(at: UpstreamSettings, index: str, told: _Told) -> _About:
    """What the index says of its method; None if it is not there, or is shown to no stranger."""
    upstream = ElasticsearchUpstream(at)
    try:
        answer = await _patiently(upstream, _mapping_of(index), told)
    finally:
        await upstream.close()
    if answer.status != _OK:
        _log.warning(
            "Elasticsearch answers %d to a question after [%s]: queries are described with the "
            "packaged method, or the one named by options, until the index says another.",
            answer.status,
            index,
        )
        return None
    return next(iter(abouts_of(orjson.loads(answer.body)).values()), None)


def _mapping_of(index: str) -> Request:
    return Request("GET", f"/{index}/_mapping", headers=((b"accept", b"application/json"),))


async def _patiently(upstream: ElasticsearchUpstream, request: Request, told: _Told) -> Answer:
    """The answer, however long it takes; each new reason why there is none is told and logged."""
    last = ""
    while True:
        try:
            answer = await upstream.ask(request)
            if answer.status not in _NOT_YET:
                return answer
            why = f"Elasticsearch answers with status {answer.status}: it may be starting."
        except UpstreamUnreachable as error:
            why = error.reason
        told(why)
        if why != last:
            _log.warning("%s Trying again until it answers.", why)
            last = why
        await asyncio.sleep(_BETWEEN_S)


def _encoding(
    method: Method, machine: Machine, web: WebAccess
) -> Callable[[Sequence[IndexedPicture]], Mapping[str, KeptMaps]]:
    plan = IndexingPlan.on(machine, web=web)
    return lambda pictures: encode_documents(pictures, method, plan)


def _reading(limits: ImageLimits, web: WebAccess) -> Callable[[str], bytes]:
    return lambda uri: read_source(uri, limits, web)


def _fetching(settings: CommandSettings, limits: ImageLimits) -> Callable[[str], bytes] | None:
    web = WebAccess.listed(settings.web_hosts)
    if not web.hosts:
        return None
    return lambda uri: fetch(uri, web, limits)
