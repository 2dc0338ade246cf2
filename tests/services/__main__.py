"""The command `python -m tests.services`: install what is missing, or run both servers."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.services import elasticsearch, redis
from tests.services.errors import ServiceError
from tests.services.installing import install
from tests.services.settings import ELASTICSEARCH, ELASTICSEARCH_VERSION, REDIS, ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tests.services.server import Server

HELP = f"""\
A real Elasticsearch and a real Redis for the integration tests.

commands:
  install   installs what is missing, where this machine's apt-get can: redis-server, Maven,
            libzstd1, a JDK of version 21 or newer, and Chromium; then puts Elasticsearch
            together. Says what cannot be had and never fails: the tests that need it are
            skipped, or fail where CI is set.
  run       starts both and prints their addresses; Ctrl-C ends them and removes their data.
            Elasticsearch has 2 GB of heap and compiles fully, as a benchmark needs it.

Each server is looked for in this order:
  1. at the address in {ELASTICSEARCH} or {REDIS}
  2. in Docker, where an engine answers
  3. Elasticsearch of the jars on Maven Central, kept in ~/.cache/camsearch/services;
     redis-server on the PATH

environment:
  {ELASTICSEARCH}           such as http://127.0.0.1:9200
  {REDIS}                   such as redis://127.0.0.1:6379/0
  {ELASTICSEARCH_VERSION}   {ServiceSettings.elasticsearch_version} if not set; 8.19.21 works too
  JAVA_HOME                               looked at first for a JDK, before PATH and /usr/lib/jvm
"""


def say(sentence: str) -> None:
    """At once, also where the output goes to a file."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def run(settings: ServiceSettings) -> int:
    """Until Ctrl-C."""
    settings = replace(settings, java_options="-Xms2g -Xmx2g")
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="camsearch-services-") as scratch:
            _run(Path(scratch), settings)
    except KeyboardInterrupt:
        say("Ended.")
        return 0
    return 1


def _run(folder: Path, settings: ServiceSettings) -> None:
    """Returns only where neither can be had."""
    say("Starting both; the first time, Elasticsearch is downloaded.")
    makers: dict[str, Callable[[], Server]] = {
        ELASTICSEARCH: lambda: elasticsearch.own(folder / "elasticsearch", settings),
        REDIS: lambda: redis.own(folder / "redis", settings),
    }
    with ExitStack() as running:
        started = 0
        for variable, make in makers.items():
            try:
                server = running.enter_context(make())
            except ServiceError as error:
                say(str(error))
            else:
                say(f"export {variable}={server.url}")
                started += 1
        if started:
            say("Ctrl-C ends what runs.")
            signal.pause()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Ends as Ctrl-C does, so that servers and folder are cleared away."""
    raise KeyboardInterrupt


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.services",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python -m tests.services [-h] {install,run}",
    )
    parser.add_argument("command", choices=("install", "run"), help=argparse.SUPPRESS)
    command = parser.parse_args(words).command
    settings = ServiceSettings.from_environment()
    if command == "run":
        return run(settings)
    try:
        install(settings, say)
    except OSError as error:  # such as a home that cannot be written to
        say(f"Not all could be installed ({error}); the tests that need it say what is missing.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
