"""The same queries through a server and through Python give the same answers."""

from __future__ import annotations

import csv

import pytest
from PIL import Image

from es_mappings.elastic_client import connect
from evaluation.through import evaluate_through
from tests.e2e.conftest import MACHINE

pytestmark = pytest.mark.services


def test_a_server_answers_as_python_does(sources, photos, gallery, proxy):
    with (photos / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "scene", "capture", "width", "height"])
        for source in sources:
            with Image.open(source.uri) as image:
                rows.writerow([f"{source.id}.jpg", source.id[:-2], "", *image.size])
    with connect(proxy.url) as client:
        found = evaluate_through(photos, client, gallery, MACHINE)
    assert found.asked == len(sources)
    assert found.most_apart < 0.001
    assert [(row.system, row.stage) for row in found.rows] == [
        (system, stage)
        for stage in ("first", "first+QE5", "R100", "R100+QE5")
        for system in ("through the server", "through Python")
    ]
    assert all(row.all > 0.9 for row in found.rows)
