"""Build the server of `camsearch serve`, over Elasticsearch or over a gallery in a folder."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsearch.library import ImageLibrary
from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings
from galleries.about import features_of, method_about, regions_about
from galleries.features import FeatureStore
from indexer.addresses import read_source
from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan
from indexer.web import WebAccess, fetch
from reranker.folder import LocalUpstream
from reranker.following import Following
from reranker.matching import Matcher
from reranker.observability.tracing import tracing_as_named
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from reranker.service import ImageFiles, Service
from reranker.settings import TracesSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from camsearch.settings import CommandSettings
    from descriptors.machine import Machine
    from descriptors.method import Method
    from reranker.http.exchange import Upstream

__all__ = ["ServedMethod", "over_elasticsearch", "over_folder"]


@dataclass(frozen=True)
class ServedMethod:
    """The method of queries; what is None comes from the index, or from the default preset.

    Attributes:
        whitening, weights: files.
        maps: address of the stored maps.
    """

    settings: MethodSettings | None = None
    regions: RegionSettings | None = None
    whitening: Path | None = None
    weights: Path | None = None
    maps: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether the method is given, so that the index's is not used."""
        return self.settings is not None or self.whitening is not None or self.weights is not None

    def load(
        self, about: Mapping[str, Any] | None, machine: Machine
    ) -> tuple[Method, RegionSettings, FeatureStore | None]:
        """The method, its region settings, and the maps stored by it, if any.

        Args:
            about: the index's description of its method, if it has one.
            machine: where the network runs.

        Raises:
            ArtifactError, FingerprintMismatch: if weights or whitening are missing or differ.
        """
        if about is not None and not self.is_given:
            method, regions = method_about(about, machine), regions_about(about)
        else:
            settings = self.settings or MethodSettings()
            method = method_of(settings, self.whitening, self.weights, machine)
            regions = self.regions or RegionSettings()
        if self.maps is not None:
            return method, regions, FeatureStore(self.maps, method.fingerprint())
        if about is not None and about.get("fingerprint") == method.fingerprint():
            return method, regions, features_of(about)
        return method, regions, None


@contextmanager
def over_folder(folder: Path, settings: CommandSettings, machine: Machine) -> Iterator[Service]:
    """A service over a local gallery.

    Raises:
        GalleryNotFound, GalleryDamaged: if it is missing or unreadable.
    """
    with ImageLibrary.open(folder, machine) as library:
        upstream = LocalUpstream(library.gallery, settings.images)
        method = library.method, library.regions, library.features
        with closing(_started(method, upstream, settings, machine, WebAccess())) as service:
            yield service


@contextmanager
def over_elasticsearch(
    settings: CommandSettings, machine: Machine, given: ServedMethod
) -> Iterator[Following]:
    """The application over Elasticsearch, which its lifespan waits for.

    Args:
        settings: Elasticsearch and the gallery.
        machine: where the network runs.
        given: overrides the index's method.

    Raises:
        SettingsError: the URL of Elasticsearch is not valid.
    """
    at = UpstreamSettings(settings.elasticsearch, ca_file=settings.ca_certs)
    upstream, web = ElasticsearchUpstream(at), WebAccess.listed(settings.web_hosts)

    def made(about: Mapping[str, Any] | None) -> Service:
        return _started(given.load(about, machine), upstream, settings, machine, web)

    app = Following(upstream, settings.images, made, follows=not given.is_given)
    with closing(app):
        yield app


def _started(
    method: tuple[Method, RegionSettings, FeatureStore | None],
    upstream: Upstream,
    settings: CommandSettings,
    machine: Machine,
    web: WebAccess,
) -> Service:
    """Start a service; `web` has the hosts that documents' images may be fetched from."""
    described_by, regions, features = method
    limits, hosts = machine.limits, WebAccess.listed(settings.web_hosts)
    plan = IndexingPlan.on(machine, web=web)
    matcher = Matcher(
        described_by,
        features,
        regions,
        lambda images: encode_documents(images, described_by, plan),
        settings.serve_max_encoded,
    )
    files = ImageFiles(
        limits,
        (lambda url: fetch(url, hosts, limits)) if hosts.hosts else None,
        lambda uri: read_source(uri, limits, web),
    )
    tracing = tracing_as_named(TracesSettings())
    service = Service(matcher, upstream, files, settings, settings.images, tracing)
    try:
        service.warm_up()
    except BaseException:
        service.close()
        raise
    return service
