"""An Elasticsearch of the jars on Maven Central, for machines without Docker.

The distribution is to be had from Elastic only; its server, as a library, is published. A home is
assembled once a version:

    lib/                       the server's jars
    modules/transport-netty4/  HTTP; a module is a folder of jars with a descriptor
    modules/greeting/          ours: GET /, which is not published
    launcher/                  ours: starts the node
    native/                    the system's zstd
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.errors import ServiceMissing
from tests.services.locks import alone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.services.settings import ServiceSettings

_JAVA = Path(__file__).parent / "java"
_NETTY = "transport-netty4"
_NETTY_JARS = (f"{_NETTY}-*.jar", "netty-*.jar", "elasticsearch-ssl-config-*.jar")
_INSTALL = "run `python -m tests.services install`, or see to it by hand"
_DOWNLOAD_S = 900.0
_COMPILE_S = 120.0
_JDKS = Path("/usr/lib/jvm")
_JAVA_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)')
_ASK_S = 20.0


def java_versions(version: str) -> tuple[int, int]:
    """The oldest and the newest JDK that this Elasticsearch starts on."""
    return (17, 24) if version.startswith("8.") else (21, 99)


@dataclass(frozen=True)
class Jdk:
    """Where it is, and its major version."""

    home: Path
    major: int

    @property
    def java(self) -> Path:
        return self.home / "bin" / "java"

    @property
    def javac(self) -> Path:
        return self.home / "bin" / "javac"


def _major(home: Path) -> int | None:
    """From the file that JDKs carry; asking java itself takes a good part of a second each."""
    release = home / "release"
    said = release.read_text(errors="replace") if release.is_file() else _ask(home / "bin" / "java")
    found = _JAVA_VERSION.search(said)
    return int(found[1]) if found else None


def _ask(java: Path) -> str:
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, check=False, timeout=_ASK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout


def _homes(java_home: Path | None) -> list[Path]:
    homes = [java_home] if java_home else []
    on_path = shutil.which("javac")
    if on_path:
        homes.append(Path(on_path).resolve().parents[1])
    if _JDKS.is_dir():
        homes += sorted(_JDKS.iterdir())
    return list(dict.fromkeys(home.resolve() for home in homes if (home / "bin/javac").exists()))


def jdk_for(settings: ServiceSettings) -> Jdk:
    """The newest in JAVA_HOME, on the PATH and in /usr/lib/jvm that Elasticsearch starts on.

    Raises:
        ServiceMissing: there is none.
    """
    least, most = java_versions(settings.elasticsearch_version)
    found = [Jdk(home, major) for home in _homes(settings.java_home) if (major := _major(home))]
    fitting = [jdk for jdk in found if least <= jdk.major <= most]
    if not fitting:
        have = ", ".join(sorted({str(jdk.major) for jdk in found})) or "none"
        raise ServiceMissing(
            f"Elasticsearch needs a JDK from version {least} to {most}, and this machine has "
            f"{have}: install one, and set JAVA_HOME if it is not in {_JDKS}."
        )
    return max(fitting, key=lambda jdk: jdk.major)


def zstd() -> Path | None:
    """The system's zstd, with which Elasticsearch writes its stored fields."""
    machine = f"{platform.machine()}-linux-gnu"
    folders = (f"/usr/lib/{machine}", f"/lib/{machine}", "/usr/lib64", "/lib64", "/usr/lib")
    found = [Path(folder) / "libzstd.so.1" for folder in folders]
    return next((path for path in found if path.exists()), None)


def home_for(settings: ServiceSettings) -> Path:
    """The folder with everything, assembled where that has not been done yet.

    Raises:
        ServiceMissing: a tool is not there, or Maven cannot get the jars.
    """
    version = settings.elasticsearch_version
    home = settings.cache / f"elasticsearch-{version}"
    recipe = _recipe(version)
    settings.cache.mkdir(parents=True, exist_ok=True)
    with alone(settings.cache / ".lock"):
        if not _is_of(home, recipe):
            jdk = jdk_for(settings)
            with tempfile.TemporaryDirectory(dir=settings.cache, prefix=".new-") as scratch:
                new = Path(scratch) / "home"
                _assemble(new, version, jdk)
                (new / "recipe").write_text(recipe)
                _put_in_place(new, home, Path(scratch))
    return home


def _recipe(version: str) -> str:
    """A digest of what the home is made from: it is made anew when that changes."""
    digest = hashlib.sha256(version.encode())
    for source in sorted(path for path in _JAVA.rglob("*") if path.is_file()):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _is_of(home: Path, recipe: str) -> bool:
    made = home / "recipe"
    return made.is_file() and made.read_text() == recipe


def _put_in_place(new: Path, home: Path, scratch: Path) -> None:
    if home.exists():
        home.rename(scratch / "old")
    new.rename(home)


def _assemble(home: Path, version: str, jdk: Jdk) -> None:
    library = zstd()
    if library is None:
        raise ServiceMissing(f"Elasticsearch needs the library libzstd1: {_INSTALL}.")
    lib = home / "lib"
    lib.mkdir(parents=True)
    _get_jars(version, lib)
    _netty_module(home, version)
    release = java_versions(version)[0]
    _compile(jdk, release, lib, [_JAVA / "NodeLauncher.java"], home / "launcher")
    _greeting_module(home, version, jdk, release)
    (home / "native").mkdir()
    (home / "native" / "libzstd.so").symlink_to(library)


def _get_jars(version: str, lib: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceMissing(
            f"Without Docker, Elasticsearch is put together by Maven, and there is no mvn: {_INSTALL}."
        )
    words = ["-f", str(_JAVA / "pom.xml"), f"-Delasticsearch.version={version}"]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={lib}"]
    _tool([maven, "--batch-mode", "--quiet", *words, *goal], _DOWNLOAD_S)


def _compile(jdk: Jdk, release: int, lib: Path, sources: Iterable[Path], to: Path) -> None:
    """For the oldest Java the version runs on: the JDK that starts it later may be another."""
    options = ["--release", str(release), "-proc:none", "-nowarn", "-cp", f"{lib}/*", "-d", str(to)]
    _tool([str(jdk.javac), *options, *map(str, sources)], _COMPILE_S)


def _tool(words: list[str], seconds: float) -> None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceMissing(
            f"`{Path(words[0]).name}` took longer than {seconds:g} s to put Elasticsearch together: "
            "see to the machine's network and try again."
        ) from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ServiceMissing(
            f"`{Path(words[0]).name}` could not put Elasticsearch together; see to what it says "
            f"and try again:\n{tail}"
        )


def _netty_module(home: Path, version: str) -> None:
    folder = home / "modules" / _NETTY
    folder.mkdir(parents=True)
    for pattern in _NETTY_JARS:
        for jar in (home / "lib").glob(pattern):
            jar.rename(folder / jar.name)
    descriptors = f"META-INF/es-plugins/{_NETTY}/"
    with zipfile.ZipFile(folder / f"{_NETTY}-{version}.jar") as module:
        for name in module.namelist():
            if name.startswith(descriptors) and not name.endswith("/"):
                (folder / Path(name).name).write_bytes(module.read(name))


def _greeting_module(home: Path, version: str, jdk: Jdk, release: int) -> None:
    folder = home / "modules" / "greeting"
    folder.mkdir()
    # How a module brings its answers has changed between the two; no one source fits both.
    major = "8" if version.startswith("8.") else "9"
    sources = [_JAVA / "Greeting.java", _JAVA / major / "GreetingModule.java"]
    with tempfile.TemporaryDirectory() as scratch:
        _compile(jdk, release, home / "lib", sources, Path(scratch))
        with zipfile.ZipFile(folder / "greeting.jar", "w") as jar:
            for made in Path(scratch).iterdir():
                jar.write(made, made.name)
    said = {
        "name": "greeting",
        "description": "Answers GET /",
        "version": version,
        "elasticsearch.version": version,
        "java.version": release,
        "classname": "GreetingModule",
    }
    descriptor = "".join(f"{key}={value}\n" for key, value in said.items())
    (folder / "plugin-descriptor.properties").write_text(descriptor)
