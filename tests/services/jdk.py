"""The newest JDK of this machine that a server can run on."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.errors import ServiceMissing

_INSTALLED = Path("/usr/lib/jvm")
_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)')
_ASK_S = 20.0


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
    found = _VERSION.search(said)
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
    if _INSTALLED.is_dir():
        homes += sorted(_INSTALLED.iterdir())
    return list(dict.fromkeys(home.resolve() for home in homes if (home / "bin/javac").exists()))


def find_jdk(java_home: Path | None, *, least: int, most: int) -> Jdk:
    """The newest in JAVA_HOME, on the PATH and in /usr/lib/jvm.

    Raises:
        ServiceMissing: none of them is of a version from `least` to `most`.
    """
    found = [Jdk(home, major) for home in _homes(java_home) if (major := _major(home))]
    fitting = [jdk for jdk in found if least <= jdk.major <= most]
    if not fitting:
        have = ", ".join(sorted({str(jdk.major) for jdk in found})) or "none"
        raise ServiceMissing(
            f"Elasticsearch needs a JDK from version {least} to {most}, and this machine has "
            f"{have}: install one, and set JAVA_HOME if it is not in {_INSTALLED}."
        )
    return max(fitting, key=lambda jdk: jdk.major)
