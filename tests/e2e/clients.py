"""The official clients, installed once a machine, outside the repository.

What is missing is said as in `tests.services`: a skip with its reason, and a failure in CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services.locks import alone
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "camsearch" / "tests"
PYTHON_8 = "elasticsearch==8.19.3"
_JAVASCRIPT = HERE / "javascript"
_INSTALL_S = 300
# What npm and pip say of a registry they cannot speak with.
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONN", "ETIMEDOUT", "CERT", "NewConnectionError")


class ClientMissing(Exception):
    """A client cannot be had on this machine."""


class RegistryUnreachable(ClientMissing):
    """The registry that has the client does not answer: no fault of the code under test."""


@dataclass(frozen=True)
class Client:
    """A way to ask Elasticsearch: a program, and the environment it runs in.

    Attributes:
        name: of the client.
        command: how its programs are run; the program's path and arguments come after it.
        suffix: of its programs.
        arguments: which come first.
        environment: beside that of the tests.
    """

    name: str
    command: tuple[str, ...]
    suffix: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def run(self, program, *arguments, said=None):
        """What a program of `tests/e2e/programs` prints, as JSON.

        Args:
            program: its name without the suffix.
            arguments: of it.
            said: is written to it as JSON.
        """
        path = HERE / "programs" / f"{program}{self.suffix}"
        done = self.run_code(path, *self.arguments, *arguments, said=said)
        found: dict[str, Any] = json.loads(done)
        return found

    def run_code(self, path, *arguments, said=None, folder=None):
        done = subprocess.run(
            [*self.command, str(path), *arguments],
            env=os.environ | dict(self.environment),
            input=None if said is None else json.dumps(said),
            stdin=subprocess.DEVNULL if said is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
            cwd=folder,
        )
        assert done.returncode == 0, f"{self.name}, {path.name}: {done.stderr[-3000:]}"
        return done.stdout


def python_9(colour):
    return Client(f"Python 9 {colour}", (sys.executable,), ".py", (colour,))


def python_8(colour):
    """The client of the 8 series, which says `compatible-with=8`."""
    # Some of its parts are compiled for one version of Python.
    target = _installed("python-8", f"{PYTHON_8} {sys.version}", _install_python)
    paths = (("PYTHONPATH", str(target)),)
    return Client(f"Python 8.19 {colour}", (sys.executable,), ".py", (colour,), paths)


def javascript():
    """The client of the pinned package.json, for Node."""
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise ClientMissing(f"{name} is not here: install Node 20 or newer with npm.")
    pinned = (_JAVASCRIPT / "package-lock.json").read_text()
    folder = _installed("javascript", pinned, _install_javascript)
    return Client("JavaScript", ("node",), ".cjs", (), (("NODE_PATH", f"{folder}/node_modules"),))


def curl():
    for name in ("curl", "jq"):
        if shutil.which(name) is None:
            raise ClientMissing(f"{name} is not here: install curl and jq.")
    return Client("curl", ("bash",), ".sh")


def go():
    """Go with its standard library alone."""
    if shutil.which("go") is None:
        raise ClientMissing("go is not here: install Go 1.21 or newer.")
    return Client("Go", ("go", "run"), ".go")


CLIENTS: dict[str, Callable[[], Client]] = {
    "python-9": lambda: python_9("sync"),
    "python-9-async": lambda: python_9("async"),
    "python-8": lambda: python_8("sync"),
    "python-8-async": lambda: python_8("async"),
    "javascript": javascript,
    "curl": curl,
}
# With those that run examples alone.
RUNNERS = CLIENTS | {"go": go}


def _installed(name, what, install):
    """The folder of an installed client, made if it is not there with just this content."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder, done = CACHE / name, CACHE / f"{name}.installed"
    with alone(CACHE / f"{name}.lock"):
        if done.exists() and done.read_text() == what:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        ran = subprocess.run(
            install(folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_S,
        )
        if ran.returncode:
            away = any(sign in ran.stderr for sign in _UNREACHABLE)
            raise (RegistryUnreachable if away else ClientMissing)(
                f"The client {name} cannot be installed: {ran.stderr[-500:]}"
            )
        done.write_text(what)
    return folder


def _install_python(folder):
    quiet = ("--quiet", "--disable-pip-version-check")
    return [sys.executable, "-m", "pip", "install", *quiet, "--target", str(folder), PYTHON_8]


def _install_javascript(folder):
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_JAVASCRIPT / name, folder)
    return ["npm", "ci", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
