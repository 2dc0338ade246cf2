"""What several modules ask of: a gallery with pictures and maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.house import House
from tests.support.tiny_service import make_gallery

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Not to be changed."""
    with House.built(tmp_path_factory.mktemp("house")) as built:
        yield built


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery of made pictures by the tiny network."""
    made = tmp_path_factory.mktemp("gallery")
    make_gallery(made)
    return made


@pytest.fixture(scope="module")
def store(house):
    """The house's kept maps."""
    opened = house.store()
    yield opened
    opened.close()
