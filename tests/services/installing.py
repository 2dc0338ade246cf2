"""Installs what the tests need of servers, and Chromium, where the machine's apt can; says the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.services import docker, elasticsearch, redis
from tests.services.errors import ServiceError
from tests.services.jars import home_for, java_versions, jdk_for, zstd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.settings import ServiceSettings

_APT_S = 1800.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Need:
    """One thing, how to see that it is there, and the packages of which any one brings it."""

    thing: str
    there: Callable[[], bool]
    packages: tuple[str, ...]


def install(settings: ServiceSettings, say: Callable[[str], None]) -> None:
    """Everything for both servers and the page; what fails is said, and its tests will skip."""
    of_elasticsearch = _elasticsearch_needs(settings)
    needs = [*_redis_needs(settings), *of_elasticsearch, _browser_need()]
    missing = [need for need in needs if not need.there()]
    if missing:
        _install(missing, say)
    still = [need for need in missing if not need.there()]
    for need in still:
        say(
            f"There is no {need.thing} here, and no apt-get that brings it and that we may run: "
            "install it by hand, start Docker, or give the addresses of running servers, see --help."
        )
    if all(need.there() for need in of_elasticsearch) and _of_jars(settings):
        _assemble(settings, say)


def _of_jars(settings: ServiceSettings) -> bool:
    """Asked last: it may pull the image, and that takes its time."""
    official = elasticsearch.image(settings.elasticsearch_version, settings.java_options)
    return settings.elasticsearch is None and not docker.can_run(official.name)


def _redis_needs(settings: ServiceSettings) -> list[Need]:
    if settings.redis or docker.can_run(redis.IMAGE.name):
        return []
    return [Need("redis-server", lambda: bool(shutil.which("redis-server")), ("redis-server",))]


def _browser_need() -> Need:
    return Need("Chromium", lambda: any(map(shutil.which, BROWSERS)), ("chromium",))


def _elasticsearch_needs(settings: ServiceSettings) -> list[Need]:
    if not _of_jars(settings):
        return []
    least, most = java_versions(settings.elasticsearch_version)
    packages = tuple(f"openjdk-{n}-jdk-headless" for n in (25, 21, 17) if least <= n <= most)
    return [
        Need("Maven", lambda: bool(shutil.which("mvn")), ("maven",)),
        Need("libzstd", lambda: bool(zstd()), ("libzstd1",)),
        Need(f"JDK of version {least} or newer", lambda: _has_jdk(settings), packages),
    ]


def _has_jdk(settings: ServiceSettings) -> bool:
    try:
        jdk_for(settings)
    except ServiceError:
        return False
    return True


def _assemble(settings: ServiceSettings, say: Callable[[str], None]) -> None:
    try:
        home = home_for(settings)
    except ServiceError as missing:
        say(str(missing))
    else:
        say(f"Elasticsearch {settings.elasticsearch_version} is ready in {home}.")


def _install(missing: list[Need], say: Callable[[str], None]) -> None:
    apt = _apt_get()
    if apt is None:
        return
    say(f"Installing by apt-get: {', '.join(need.thing for need in missing)}.")
    # Fresh machines have no lists, and old lists name packages that are gone.
    _tell(apt, ["update"], say)
    for need in missing:
        package = next((name for name in need.packages if _in_lists(name)), None)
        if package:
            _tell(apt, ["install", "--yes", "--no-install-recommends", package], say)


def _apt_get() -> list[str] | None:
    """The words that run apt-get as root without asking for a password."""
    apt = shutil.which("apt-get")
    if apt is None:
        return None
    words = ["env", "DEBIAN_FRONTEND=noninteractive", apt, "--quiet=2"]
    if os.geteuid() == 0:
        return words
    sudo = shutil.which("sudo")
    if (
        sudo
        and not subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode
    ):
        return [sudo, "-n", *words]
    return None


def _in_lists(package: str) -> bool:
    """Whether apt can install it; it also knows names of packages that it does not have."""
    done = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, check=False
    )
    return "Candidate:" in done.stdout and "Candidate: (none)" not in done.stdout


def _tell(apt: list[str], words: list[str], say: Callable[[str], None]) -> None:
    try:
        done = subprocess.run(
            [*apt, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_APT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"apt-get {words[0]} did not end: {error}.")
        return
    if done.returncode:
        tail = " ".join(done.stderr.strip().splitlines()[-3:])
        say(f"apt-get {' '.join(words)} failed: {tail}")
