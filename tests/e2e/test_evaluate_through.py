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
    assert found.max_difference < 0.001
    server, python = "through the server", "through Python"
    three, two = (server, "plain kNN", python), (server, python)
    assert [(row.system, row.stage) for row in found.rows] == [
        (system, stage)
        for stage, systems in (
            ("first", three),
            ("first+QE5", two),
            ("windows", three),
            ("windows+QE5", two),
            ("R100 windows", three),
            ("R100 windows+QE5", two),
            ("R100", two),
            ("R100+QE5", two),
        )
        for system in systems
    ]
    assert all(row.all > 0.9 for row in found.rows)
