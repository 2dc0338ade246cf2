"""Made scores: queries of made scenes with precisions that a test can choose."""

from __future__ import annotations

from pathlib import Path

from descriptors.arrays import Size
from evaluation.scores import JudgedHit, Score
from evaluation.trials import DatasetImage, DatasetQuery, Judgement


def made_query(number, scene="", **measures):
    path = f"{scene or 'photo'}/{number:03d}.jpg"
    image = DatasetImage(path, Size(8, 6), Path(path), scene)
    judgements = measures or {"all": Judgement(frozenset({"right"}))}
    return DatasetQuery(image, None, judgements, path)


def made_scores(precisions, scenes, system="OfA", stage="first"):
    """One score a precision; queries go round the scenes."""
    return tuple(
        Score(
            system,
            stage,
            made_query(number, f"scene {number % scenes}"),
            {"all": precision},
            (0,) if precision else (),
            1.0,
            (JudgedHit("right", True), JudgedHit("wrong", False)),
        )
        for number, precision in enumerate(precisions)
    )
