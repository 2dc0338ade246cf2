"""The proxy as the settings name it: over an Elasticsearch, or over a gallery in a folder."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from camsearch.library import PictureLibrary
from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings
from es_mappings.about import features_of, method_about, regions_about
from es_mappings.features import FeatureStore
from indexer.pipeline import encode_documents
from indexer.reading import IndexingPlan
from indexer.sources import read_source
from indexer.web import WebAccess, fetch
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

    from camsearch.settings import CommandSettings
    from descriptors.images import ImageLimits
    from descriptors.machine import Machine
    from descriptors.method import Method
    from es_mappings.documents import IndexedPicture
    from es_mappings.features import KeptMaps
    from reranker.exchange import Answer

    _Told = Callable[[str], None]
    _About = Mapping[str, Any] | None

__all__ = ["ServedMethod", "over_elasticsearch", "over_folder"]

_log = logging.getLogger(__name__)

_OK = 200
# Servers start in any order; one that starts may answer before it knows its indices, and a balancer
# before it has one to ask.
_NOT_YET = frozenset({429, 502, 503, 504})
_BETWEEN_S = 1.0


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
        with _running(parts, settings) as service:
            yield service


@contextmanager
def over_elasticsearch(
    settings: CommandSettings,
    machine: Machine,
    given: ServedMethod,
    wait: Callable[[Callable[[_Told], Coroutine[Any, Any, _About]]], _About],
) -> Iterator[Service]:
    """A service over an Elasticsearch, once that answers.

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
    method, regions, features = _method(about, given, machine)
    web = WebAccess.listed(settings.web_hosts)
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
    with _running(parts, settings) as service:
        yield service


@contextmanager
def _running(parts: ServiceParts, settings: CommandSettings) -> Iterator[Service]:
    service = Service(parts, settings, tracing_as_named(TracesSettings()))
    try:
        service.warm_up()
        yield service
    finally:
        service.close()


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
    headers = ((b"accept", b"application/json"),)
    request = Request("GET", f"/{index}/_mapping", headers=headers)
    try:
        answer = await _patiently(upstream, request, told)
    finally:
        await upstream.close()
    if answer.status != _OK:
        _log.warning(
            "Elasticsearch answers %d to a question after [%s]: queries are described with the "
            "packaged method, or the one named by options, until the server is started again.",
            answer.status,
            index,
        )
        return None
    return next(iter(abouts_of(orjson.loads(answer.body)).values()), None)


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
    plan = IndexingPlan(
        batch_size=machine.batch_size, readers=machine.readers, limits=machine.limits, web=web
    )
    return lambda pictures: encode_documents(pictures, method, plan)


def _reading(limits: ImageLimits, web: WebAccess) -> Callable[[str], bytes]:
    return lambda uri: read_source(uri, limits, web)


def _fetching(settings: CommandSettings, limits: ImageLimits) -> Callable[[str], bytes] | None:
    web = WebAccess.listed(settings.web_hosts)
    if not web.hosts:
        return None
    return lambda uri: fetch(uri, web, limits)
