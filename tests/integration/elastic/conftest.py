"""A client and a name for a gallery of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from es_mappings.elastic_client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elasticsearch import Elasticsearch


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with connect(elasticsearch_url) as opened:
        yield opened


@pytest.fixture
def name(index_prefix: str) -> str:
    return f"{index_prefix}images"
