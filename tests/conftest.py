"""For every test: an environment without our variables, repeatable hypothesis runs, our command."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

# pyproject.toml names it as the checker of annotations, which looks it up as an attribute.
import tests.support.checking  # noqa: F401

if TYPE_CHECKING:
    from tests.support.house import House

pytest_plugins = ["tests.services.plugin"]

# Tiny arrays on two threads wait for each other longer than they compute: tests take half the time
# on one. It must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The array hook and a shared processor make single examples slow now and then; failures must
# repeat, so examples are derived from the test and not drawn anew. CAMSEARCH_TEST_CASES asks for
# more of them, here and of every fuzzed test.
settings.register_profile(
    "camsearch",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=int(os.environ.get("CAMSEARCH_TEST_CASES") or 25),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("camsearch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those that mostly wait for time-outs of servers: others run meanwhile."""
    items.sort(key=lambda item: "chaos" not in item.path.parts)


@pytest.fixture(autouse=True)
def _no_camsearch_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell sets for camsearch must not reach a test."""
    for name in list(os.environ):
        if name.upper().startswith("CAMSEARCH_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """A command that sets up logs for its process must not do so for the tests after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.disable(logging.NOTSET)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith(("reranker", "camsearch")):
            logger.disabled, logger.propagate = False, True


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gallery of made images and what searches in it: whoever changes it puts it back."""
    from tests.support.house import House

    with House.built(tmp_path_factory.mktemp("house")) as built:
        yield built


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def camsearch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process, as the shell would."""

    def call(*arguments: object) -> Said:
        from camsearch.main import run

        monkeypatch.setattr(sys, "argv", ["camsearch", *(str(one) for one in arguments)])
        capsys.readouterr()
        status = 0
        try:
            run()
        except SystemExit as end:
            status = int(end.code or 0)
        return Said(status, *capsys.readouterr())

    return call
