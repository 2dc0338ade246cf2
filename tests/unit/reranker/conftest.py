"""What several modules ask of: a gallery with images and maps."""

from __future__ import annotations

import pytest

from tests.support.tiny_service import make_gallery


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("gallery")
    make_gallery(made)
    return made


@pytest.fixture(scope="module")
def store(house):
    opened = house.store()
    yield opened
    opened.close()
