"""The dashboard asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from reranker.observability.metrics import Metrics

DASHBOARD = Path(__file__).parents[4] / "docs" / "grafana" / "camsearch.json"
ASKED = [
    target["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]
    for target in panel["targets"]
]


def test_every_metric_of_the_dashboard_is_told():
    told = Metrics().exposition().decode()
    names = set(re.findall(r"^(\w+?)(?:\{| )", told, re.MULTILINE))
    asked = set(re.findall(r"\b((?:camsearch|process)_\w+)", " ".join(ASKED)))
    assert len(asked) > 7
    assert {name for name in asked if name not in names} <= {"camsearch_waiting"}


def test_every_metric_of_ours_is_on_the_dashboard():
    told = Metrics().exposition().decode()
    ours = set(re.findall(r"^# TYPE (camsearch_\w+?)(?:_created)? ", told, re.MULTILINE))
    shown = " ".join(ASKED)
    assert {name for name in ours if name not in shown} == {"camsearch_method_info"}


def test_every_label_of_the_dashboard_is_one():
    told = Metrics().exposition().decode()
    for outcome in re.findall(r'outcome=~?"([\w|]+)"', " ".join(ASKED)):
        for one in outcome.split("|"):
            assert f'outcome="{one}"' in told
