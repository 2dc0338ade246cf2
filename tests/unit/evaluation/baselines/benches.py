"""A bench whose gallery and queries are given vectors, without any image."""

from __future__ import annotations

from pathlib import Path

import torch

from descriptors.arrays import Size
from evaluation.baselines.dense import Bench, PostProcessing
from evaluation.trials import DatasetImage, DatasetQuery, Judgement, Trial


def images(count):
    return tuple(DatasetImage(str(i), Size(64, 48), Path(f"/nowhere/{i}")) for i in range(count))


def trial_of(gallery, leave_out):
    """A trial of this many images, asked with the first ones."""
    searched = images(gallery)
    queries = tuple(
        DatasetQuery(
            searched[i],
            None,
            {"all": Judgement(frozenset({str(gallery - 1)}))},
            None if left is None else str(left),
        )
        for i, left in enumerate(leave_out)
    )
    return Trial("made", (), searched, queries)


def bench_of(gallery, queries, leave_out=None, encoded=None):
    """Nothing is left out unless it is said."""
    trial = trial_of(len(gallery), leave_out or [None] * len(queries))
    rows = (torch.from_numpy(rows).float() for rows in (gallery, queries))
    return Bench(trial, encoded, PostProcessing(None), *rows)
