"""The galleries that keep the contract. A new kind of gallery is one more factory here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from es_mappings.local import LocalGallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from es_mappings.documents import Gallery

FINGERPRINT = "f" * 64


def local_gallery(folder: Path, dims: int) -> Gallery:
    return LocalGallery.create(folder, dims, FINGERPRINT, {})


FACTORIES: list[Callable[[Path, int], Gallery]] = [local_gallery]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__, scope="module")
def new_gallery(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], Gallery]]:
    """Makes empty galleries for descriptors of so many dimensions."""
    opened: list[Gallery] = []

    def make(dims: int) -> Gallery:
        opened.append(request.param(tmp_path_factory.mktemp("gallery"), dims))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def gallery(new_gallery: Callable[[int], Gallery]) -> Gallery:
    """An empty gallery for the documents of `tests.support.documents`."""
    return new_gallery(4)
