"""An address before Docker, Docker before the machine's own; and what is said where none is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.services import docker, elasticsearch, redis
from tests.services.errors import ServiceBroken, ServiceMissing
from tests.services.recipe import Recipe
from tests.services.settings import ServiceSettings


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Docker nor any program."""
    monkeypatch.setattr(docker, "can_run", lambda image: False)
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(cache=tmp_path / "cache")


def test_docker_runs_the_official_image_of_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(docker, "can_run", lambda image: image == "elasticsearch:9.1.2")
    server = elasticsearch.own(tmp_path, ServiceSettings(elasticsearch_version="9.1.2"))
    port = server.url.removeprefix("http://127.0.0.1:")
    start = Recipe.read(tmp_path).start
    assert start[:3] == ("docker", "run", "--rm")
    assert f"--publish=127.0.0.1:{port}:9200" in start
    assert "--env=xpack.security.enabled=false" in start
    assert start[-1] == "elasticsearch:9.1.2"
    server.let_go()


def test_a_container_is_ended_by_its_name_and_leaves_no_volume() -> None:
    recipe = docker.container(redis.IMAGE, 20_001)
    name = recipe.kill[-1]
    assert f"--name={name}" in recipe.start
    assert f"--volume={name}:/data" in recipe.start
    assert recipe.stop[-1] == name
    assert recipe.forget == ("docker", "volume", "rm", "--force", name)
    assert recipe.start[recipe.start.index("--appendonly") + 1] == "yes"


def test_a_client_without_an_engine_is_no_docker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    docker.engine_answers.cache_clear()
    assert not docker.engine_answers()
    docker.engine_answers.cache_clear()


def test_what_is_missing_is_said_with_its_remedy(settings: ServiceSettings, tmp_path: Path) -> None:
    with pytest.raises(ServiceMissing, match=r"tests\.services install.*CAMSEARCH_TEST_REDIS"):
        redis.own(tmp_path, settings)
    with pytest.raises(ServiceMissing, match=r"No Elasticsearch here.*CAMSEARCH_TEST_ELASTICS"):
        elasticsearch.own(tmp_path, settings)


@pytest.mark.parametrize("service", [elasticsearch, redis])
def test_an_address_without_a_server_is_an_error_and_no_reason_to_skip(
    service: ModuleType, tmp_path: Path
) -> None:
    given = ServiceSettings(elasticsearch="http://127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    with pytest.raises(ServiceBroken, match="out of the environment"):
        service.given_or_own(tmp_path, given)


def test_the_environment_is_read_and_empty_variables_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "CAMSEARCH_TEST_ELASTICSEARCH": "http://one:9200/",
        "CAMSEARCH_TEST_ELASTICSEARCH_VERSION": "",
        "CAMSEARCH_TEST_REDIS": "",
        "JAVA_HOME": "/opt/java",
        "CI": "true",
    }.items():
        monkeypatch.setenv(name, value)
    read = ServiceSettings.from_environment()
    assert read.elasticsearch == "http://one:9200"
    assert read.elasticsearch_version == "9.5.3"
    assert read.redis is None
    assert read.java_home == Path("/opt/java")
    assert read.ci
    monkeypatch.setenv("CI", "0")
    assert not ServiceSettings.from_environment().ci
