"""compose.yaml, Dockerfile and docs/operations.md say what camsearch understands.

No Docker engine is needed: the file is checked against the schema of the Compose specification, and
what it has camsearch do is read, and done, by camsearch itself.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from camsearch.main import app
from camsearch.settings import CommandSettings, read_settings
from indexer.ledger import Ledger, WorkerState
from reranker.proxy.server import END_S
from reranker.settings import RerankerSettings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("camsearch")}
WORKERS = {name: one for name, one in OURS.items() if name.startswith("worker")}
STAYING = {name: one for name, one in SERVICES.items() if one["restart"] != "no"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETTINGS = {f"CAMSEARCH_{name.upper()}" for name in CommandSettings.model_fields}
SCRIPT = Path(sys.executable).parent / "camsearch"
_UNITS = {"s": 1, "m": 60, "h": 3600}

every_own = pytest.mark.parametrize("service", OURS.values(), ids=OURS)
every_worker = pytest.mark.parametrize("service", WORKERS.values(), ids=WORKERS)


def seconds(duration):
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smh])", duration))


def read_command(words):
    """The words as camsearch reads them; an unknown command or option raises."""
    assert words[0] == "camsearch", words
    command, rest = typer.main.get_command(app), list(words[1:])
    while getattr(command, "commands", None):
        command = command.commands[rest.pop(0)]
    with command.make_context(command.name, rest) as context:
        return command.name, context.params


def commands_of(service):
    check = service.get("healthcheck", {}).get("test", [])
    return [service["command"], *([check[1:]] if check else [])]


def test_the_file_is_as_the_specification_has_it():
    if shutil.which("check-jsonschema", path=SCRIPT.parent) is None:
        pytest.skip("check-jsonschema is not installed: run `make setup`.")
    checker = SCRIPT.with_name("check-jsonschema")
    words = [checker, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_servers_workers_and_what_makes_the_gallery():
    assert list(SERVICES) == [
        "elasticsearch",
        "redis",
        "init",
        "worker",
        "worker-gpu",
        "reranker",
    ]


@every_own
def test_camsearch_knows_every_command_and_option(service):
    for words in commands_of(service):
        read_command(words)


@every_own
def test_camsearch_knows_every_setting(service, monkeypatch):
    assert set(service["environment"]) <= SETTINGS
    for name, value in service["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.elasticsearch == "http://elasticsearch:9200"
    if "CAMSEARCH_BROKER" in service["environment"]:
        assert settings.broker == "redis://redis:6379/0"


def test_every_service_is_pinned_to_a_release_open_to_this_machine_only_and_limited():
    for service in SERVICES.values():
        name, _, tag = service["image"].rpartition(":")
        assert name
        assert re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+)?", tag)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert re.search(r"\d+g\}?$", service["mem_limit"])


@every_own
def test_our_images_have_our_version_and_a_target_of_the_dockerfile(service):
    assert service["image"].endswith(":" + PROJECT["project"]["version"])
    assert f"AS {service['build']['target']}\n" in DOCKERFILE


def test_what_runs_on_is_restarted_and_says_whether_it_is_well():
    for service in STAYING.values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_data_outlive_their_containers():
    mounts = [mount for one in SERVICES.values() for mount in one.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if isinstance(mount, str)}
    assert named == set(COMPOSE["volumes"])


def test_redis_forgets_no_task():
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"


@every_worker
def test_a_worker_starts_when_the_gallery_is_there_and_may_finish_before_it_is_killed(service):
    conditions = {name: one["condition"] for name, one in service["depends_on"].items()}
    assert conditions == {
        "elasticsearch": "service_healthy",
        "redis": "service_healthy",
        "init": "service_completed_successfully",
    }
    default = CommandSettings.model_fields["soft_shutdown"].default
    assert seconds(service["stop_grace_period"]) > 2 * default


@every_worker
def test_a_worker_reads_photos_and_can_keep_maps(service):
    bound = [mount for mount in service["volumes"] if isinstance(mount, dict)]
    assert [(mount["target"], mount["read_only"]) for mount in bound] == [("/photos", True)]
    assert "maps:/maps" in service["volumes"]  # for galleries made with --maps /maps
    _, made = read_command(SERVICES["init"]["command"])
    assert made["maps"] is None


def test_the_reranker_has_no_rights_of_its_own_and_writes_nothing():
    service = SERVICES["reranker"]
    assert "CAMSEARCH_API_KEY" not in service["environment"]
    assert "CAMSEARCH_BROKER" not in service["environment"]
    assert "maps:/maps:ro" in service["volumes"]
    [photos] = [mount for mount in service["volumes"] if isinstance(mount, dict)]
    assert photos["read_only"]


def test_the_reranker_knows_every_setting_of_its_own_and_may_finish():
    service = SERVICES["reranker"]
    own = {f"CAMSEARCH_{name.upper()}" for name in RerankerSettings.model_fields}
    assert own - set(service["environment"]) == {"CAMSEARCH_SERVE_PORT"}
    assert seconds(service["stop_grace_period"]) > END_S
    port = str(RerankerSettings.model_fields["serve_port"].default)
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"EXPOSE {port}\n" in DOCKERFILE


def test_the_gpu_worker_differs_in_device_and_image_alone():
    cpu, gpu = SERVICES["worker"], SERVICES["worker-gpu"]
    differing = {key for key in cpu | gpu if cpu.get(key) != gpu.get(key)}
    assert differing == {"profiles", "image", "build", "command", "deploy"}
    _, asked = read_command(gpu["command"])
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert asked["device"] == "cuda:0"
    assert device["capabilities"] == ["gpu"]


def test_every_package_goes_into_the_image():
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    }
    packages = {
        name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert packages <= copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in IGNORED


def test_the_image_is_pinned_runs_as_nobody_special_and_names_no_index():
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.count("--constraint constraints.txt") == 2
    assert "://" not in DOCKERFILE.replace("s3://", "")


def test_the_image_says_its_version_and_licence():
    project = PROJECT["project"]
    for label, value in (("version", project["version"]), ("licenses", project["license"])):
        assert f'org.opencontainers.image.{label}="{value}"' in DOCKERFILE


def shown_commands():
    """Each line of an indented block of the page that calls camsearch."""
    lines = re.findall(r"^ {4}(?:\S+=\S+ )*(camsearch .+)$", OPERATIONS, re.MULTILINE)
    return [re.split(r"\s{2,}#", line)[0].rstrip() for line in lines]


def test_camsearch_knows_what_the_page_shows():
    assert len(shown_commands()) > 10
    for line in shown_commands():
        read_command(shlex.split(line))


def test_camsearch_knows_every_setting_the_page_names():
    named = set(re.findall(r"CAMSEARCH_[A-Z_]+[A-Z]", OPERATIONS))
    assert len(named) > 8
    assert named <= SETTINGS


@pytest.fixture
def said(monkeypatch, camsearch, elasticsearch_url, redis_db_url, index_prefix):
    monkeypatch.setenv("CAMSEARCH_ELASTICSEARCH", elasticsearch_url)
    monkeypatch.setenv("CAMSEARCH_BROKER", redis_db_url)
    monkeypatch.setenv("CAMSEARCH_IMAGES", f"{index_prefix}photos")

    def run(words):
        assert words[0] == "camsearch"
        return camsearch(*words[1:])

    return run


def test_the_gallery_is_made_once_however_often_it_is_asked_for(said):
    first, second = (said(SERVICES["init"]["command"]) for _ in range(2))
    assert first.status == 0, first.err
    assert (second.status, second.out) == (0, first.out)


def test_a_worker_is_not_well_where_tasks_wait_and_none_gets_on(said, redis_db_url):
    import redis

    check = SERVICES["worker"]["healthcheck"]["test"][1:]
    with redis.Redis.from_url(redis_db_url, decode_responses=True) as client:
        assert said(check).status == 0
        client.rpush(CommandSettings().queue, "a task")
        assert said(check).status == 1
        now = client.time()[0]
        Ledger(client).beat(WorkerState("one", "cpu", 8, now, now))
        assert said(check).status == 0


def test_the_plugin_is_built_for_the_elasticsearch_that_runs():
    image = SERVICES["elasticsearch"]["image"]
    version = image.removeprefix("elasticsearch:")
    plugin = yaml.safe_load((ROOT / "compose.plugin.yaml").read_text())
    [(name, service)] = plugin["services"].items()
    assert name == "elasticsearch"
    assert service["image"] == f"camsearch-{image}"
    assert service["build"]["context"] == f"es_plugin/target/{version}"
    assert f"FROM {image}\n" in service["build"]["dockerfile_inline"]
    assert service["environment"] == {"camsearch.url": "http://reranker:9280"}
    assert f"ES ?= {version}\n" in (ROOT / "Makefile").read_text()
    pom = (ROOT / "es_plugin" / "pom.xml").read_text()
    assert f"<elasticsearch.version>{version}<" in pom
    assert f"<version>{PROJECT['project']['version']}</version>" in pom
