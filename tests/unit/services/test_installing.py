"""Installing installs what is missing, and never fails."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.services import docker, jdk
from tests.services.installing import install
from tests.services.settings import ServiceSettings

APT_GET = """#!/bin/sh
echo "$*" >> {calls}
case "$*" in *redis-server) echo '#!/bin/sh' > {bin}/redis-server; chmod +x {bin}/redis-server;; esac
exit {status}
"""
APT_CACHE = "#!/bin/sh\necho '  Candidate: 1.0'\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all of the PATH, root's, without Docker and JDKs; the given tools only."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in ("env", "sh", "chmod"):
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(docker, "can_run", lambda image: False)
    monkeypatch.setattr(jdk, "_INSTALLED", tmp_path / "jvm")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs


def add(programs: Path, name: str, text: str) -> None:
    (programs / name).write_text(text)
    (programs / name).chmod(stat.S_IRWXU)


def add_apt(programs: Path, status: int = 0) -> Path:
    calls = programs.parent / "calls"
    add(programs, "apt-get", APT_GET.format(calls=calls, bin=programs, status=status))
    add(programs, "apt-cache", APT_CACHE)
    return calls


def said_by(settings: ServiceSettings) -> str:
    said: list[str] = []
    install(settings, said.append)
    return "\n".join(said)


def test_what_is_missing_is_installed(machine: Path) -> None:
    calls = add_apt(machine)
    said = said_by(ServiceSettings(elasticsearch="http://given"))
    assert said == "Installing by apt-get: redis-server."
    assert calls.read_text().splitlines()[-1].endswith("--no-install-recommends redis-server")


def test_nothing_is_done_where_addresses_are_given(machine: Path) -> None:
    calls = add_apt(machine)
    assert not said_by(ServiceSettings(elasticsearch="http://given", redis="redis://given"))
    assert not calls.exists()


def test_without_apt_everything_missing_is_named(machine: Path, tmp_path: Path) -> None:
    said = said_by(ServiceSettings(cache=tmp_path / "cache"))
    for thing in ("redis-server", "Maven", "JDK of version 21 or newer"):
        assert f"There is no {thing} here" in said


def test_an_apt_that_fails_is_quoted(machine: Path) -> None:
    add_apt(machine, status=100)
    said = said_by(ServiceSettings(elasticsearch="http://given"))
    assert "apt-get update failed" in said


@pytest.mark.parametrize(("version", "package"), [("9.5.3", "25"), ("8.19.21", "21")])
def test_the_newest_jdk_that_the_version_runs_on_is_chosen(
    machine: Path, tmp_path: Path, version: str, package: str
) -> None:
    calls = add_apt(machine)
    said_by(ServiceSettings(elasticsearch_version=version, cache=tmp_path / "cache"))
    assert f"openjdk-{package}-jdk-headless" in calls.read_text()
