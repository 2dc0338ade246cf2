"""What every reader's test needs: images to fit on, and a request."""

from __future__ import annotations

from pathlib import Path

from descriptors.arrays import Size
from evaluation.datasets.facts import ImageFacts
from evaluation.datasets.files import DatasetRequest
from evaluation.trials import DatasetImage

FIT = (DatasetImage("elsewhere.jpg", Size(4, 3), Path("/elsewhere.jpg")),)


def request(root, queries=None, fit=FIT):
    """A request that keeps nothing between runs."""
    return DatasetRequest(root, queries, fit, ImageFacts(None))
