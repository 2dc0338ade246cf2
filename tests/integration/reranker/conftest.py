"""What several modules ask of: a gallery with images and maps."""

from __future__ import annotations

import pytest

from tests.support.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """Not to be changed."""
    with House.built(tmp_path_factory.mktemp("house")) as built:
        yield built
