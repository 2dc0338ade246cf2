"""The indices of one test on an Elasticsearch that it shares with others."""

from __future__ import annotations

import json

from tests.services.elasticsearch import ask


def delete(url: str, prefix: str) -> None:
    """All that start so, named one by one: Elasticsearch refuses to delete by `*`."""
    # Closed and hidden ones too.
    query = "expand_wildcards=all&filter_path=*.settings.index.uuid"
    with ask(f"{url}/{prefix}*/_settings?{query}") as answer:
        names = list(json.load(answer))
    for name in names:
        with ask(f"{url}/{name}", "DELETE"):
            pass
