"""An Elasticsearch for the tests: one given by its address, in Docker, or of jars."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import TYPE_CHECKING, ClassVar

from tests.services import docker
from tests.services.errors import ServiceBroken, ServiceMissing
from tests.services.jars import home_for, jdk_for
from tests.services.node import node
from tests.services.recipe import free_port
from tests.services.server import KeptProcess, Server
from tests.services.settings import ELASTICSEARCH
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.recipe import Recipe
    from tests.services.settings import ServiceSettings

# Straight to the server: a proxy in the environment has no business with a loopback address.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url: str, method: str = "GET", body: object = None) -> http.client.HTTPResponse:
    """The answer, which the caller closes.

    Raises:
        OSError: there is none, or it has a status from 400.
    """
    request = urllib.request.Request(  # noqa: S310  http only, see _OPENER
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    answer: http.client.HTTPResponse = _OPENER.open(request, timeout=HANG_S)
    return answer


def delete_indices(url: str, prefix: str) -> None:
    """All that start so, named one by one: Elasticsearch refuses to delete by `*`."""
    # Closed and hidden ones too.
    query = "expand_wildcards=all&filter_path=*.settings.index.uuid"
    with ask(f"{url}/{prefix}*/_settings?{query}") as answer:
        names = list(json.load(answer))
    for name in names:
        with ask(f"{url}/{name}", "DELETE"):
            pass


class ElasticsearchServer(Server):
    """One node; ready when its health is yellow, the best that a single node with replicas gets."""

    name: ClassVar[str] = "Elasticsearch"

    def answers(self) -> bool:
        health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with ask(health) as answer:
                return answer.status == 200
        except OSError:
            return False

    @property
    def version(self) -> str:
        """As it says itself."""
        try:
            with ask(self.url) as answer:
                return str(json.load(answer)["version"]["number"])
        except (OSError, ValueError, KeyError) as error:
            raise ServiceBroken(
                f"Nothing at {self.url} answers as Elasticsearch does ({error}): "
                f"start it, or take {ELASTICSEARCH} out of the environment."
            ) from error


def image(version: str, java_options: str) -> docker.Image:
    """Without security, as everything that listens here is for this machine only."""
    return docker.Image(
        name=f"elasticsearch:{version}",
        port=9200,
        data="/usr/share/elasticsearch/data",
        environment={
            "discovery.type": "single-node",
            "xpack.security.enabled": "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "ES_JAVA_OPTS": java_options,
        },
    )


def given_or_own(folder: Path, settings: ServiceSettings) -> ElasticsearchServer:
    """The server of the environment's address, else one of our own, not yet started."""
    if settings.elasticsearch is None:
        return own(folder, settings)
    given = ElasticsearchServer(settings.elasticsearch)
    _ = given.version  # an address that nobody answers at is said so now, not test by test
    return given


def own(folder: Path, settings: ServiceSettings) -> ElasticsearchServer:
    """A server of our own, not yet started, with everything it writes in the folder.

    Raises:
        ServiceMissing: neither Docker nor what the jars need is there.
    """
    port = free_port()
    process = KeptProcess(folder, _recipe(folder, port, settings))
    return ElasticsearchServer(f"http://127.0.0.1:{port}", process)


def _recipe(folder: Path, port: int, settings: ServiceSettings) -> Recipe:
    official = image(settings.elasticsearch_version, settings.java_options)
    if docker.can_run(official.name):
        return docker.container(official, port)
    try:
        return node(home_for(settings), jdk_for(settings), folder, port, settings.java_options)
    except ServiceMissing as missing:
        raise ServiceMissing(
            f"No Elasticsearch here. {missing} Otherwise start Docker, or give the address of a "
            f"running one in {ELASTICSEARCH}."
        ) from missing
