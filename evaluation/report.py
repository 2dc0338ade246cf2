"""A report of an evaluation: one self-contained HTML file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import ImageDraw

from descriptors.errors import ImageError
from descriptors.images import read_image
from evaluation.ours import OURS
from evaluation.plots import difference_plot, recall_plot, stage_plot, sweep_plot
from evaluation.recommending import recommendation
from evaluation.scores import by_system
from evaluation.significance import NamedSystem, compare
from evaluation.tables import comparison_words
from reranker.explain.drawing import BOX_COLOUR, data_url, thumbnail
from reranker.explain.pages import write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evaluation.ablation import Ablation
    from evaluation.runs import Evaluation
    from evaluation.scores import JudgedHit, Row, Score
    from evaluation.trials import DatasetImage, Trial

__all__ = ["write_evaluation_report"]

# Queries of each kind shown with images.
_SHOWN = 6
_THUMBNAIL = 132
_MAX_CURVES = 8


def write_evaluation_report(
    path: Path,
    evaluation: Evaluation,
    trials: Sequence[Trial],
    compared: tuple[NamedSystem, NamedSystem] | None = None,
    ablation: Ablation | None = None,
) -> None:
    """Write plots, the best and the worst queries, and two systems side by side.

    Args:
        path: ends in ``.html``.
        trials: what was measured, for the images.
        compared: two systems; None for the best of ours and the best of the others.
        ablation: of settings, for curves.

    Raises:
        RequestError: for another suffix, or a path that cannot be written.
    """
    scores, images = by_system(evaluation.scores), _Images(trials)
    pair = compared or _best_of_both(evaluation.rows)
    best = max(evaluation.rows, key=lambda row: row.all)
    ranked = sorted(
        (score for of_trial in scores[best.system, best.stage] for score in of_trial),
        key=lambda score: (score.average_precision, score.query.name),
    )
    write_page(
        path,
        "evaluation",
        "evaluation.html",
        evaluation=evaluation,
        stages=stage_plot(evaluation.rows),
        located=[row for row in evaluation.rows if row.where],
        curves=recall_plot(_curves(evaluation)),
        best=f"{best.system}:{best.stage}",
        worst_queries=[images.asked(score) for score in ranked[:_SHOWN]],
        best_queries=[images.asked(score) for score in ranked[::-1][:_SHOWN]],
        compared=None if pair is None else _compared(evaluation, *pair, images),
        sweeps=[] if ablation is None else _sweeps(ablation),
        advice=[] if ablation is None else recommendation(ablation),
    )


def _best_of_both(rows: Sequence[Row]) -> tuple[NamedSystem, NamedSystem] | None:
    """The best of ours and the best baseline; None unless both were measured."""
    ours = [row for row in rows if row.system in OURS]
    theirs = [row for row in rows if row.system not in OURS]
    if not ours or not theirs:
        return None
    one, other = (max(some, key=lambda row: row.all) for some in (ours, theirs))
    return NamedSystem(one.system, one.stage), NamedSystem(other.system, other.stage)


def _curves(evaluation: Evaluation) -> dict[str, list[Score]]:
    """The scores of the best systems, each at its best stage."""
    scores = by_system(evaluation.scores)
    rows = sorted(evaluation.rows, key=lambda row: (row.all, row.stage))
    best = {row.system: row for row in rows}  # the last row of each is its best
    systems = sorted(best.values(), key=lambda row: -row.all)[:_MAX_CURVES]
    return {
        f"{row.system}:{row.stage}": [s for part in scores[row.system, row.stage] for s in part]
        for row in systems
    }


def _sweeps(ablation: Ablation) -> list[str]:
    plots = [sweep_plot(setting, group) for setting, group in ablation.by_setting.items()]
    return [plot for plot in plots if plot]


def _compared(
    evaluation: Evaluation, one: NamedSystem, other: NamedSystem, images: _Images
) -> dict[str, Any]:
    """Two systems side by side."""
    scores, names = by_system(evaluation.scores), (str(one), str(other))
    comparison, queries = compare(scores[one], scores[other])
    mine, theirs = (
        {score.query.name: score for of_trial in scores[system] for score in of_trial}
        for system in (one, other)
    )
    gained = [d.query.name for d in queries if d.gained > 0][:_SHOWN]
    lost = [d.query.name for d in reversed(queries) if d.gained < 0][:_SHOWN]
    return {
        "one": names[0],
        "other": names[1],
        "words": comparison_words(names, comparison, evaluation.trials),
        "plot": difference_plot(queries, *names),
        "gained": [images.both(mine[name], theirs[name]) for name in gained],
        "lost": [images.both(mine[name], theirs[name]) for name in lost],
    }


class _Images:
    """Thumbnails of a dataset's images, each made once."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._images = {
            image.path: image
            for trial in trials
            for image in (*trial.gallery, *(query.image for query in trial.queries))
        }
        self._url = cache(_thumbnail_url)

    def asked(self, score: Score) -> dict[str, Any]:
        """A query with its first answers."""
        return self._asked(score, f"AP {score.average_precision:.3f}")

    def both(self, one: Score, other: Score) -> dict[str, Any]:
        """A query with its first answers by two systems."""
        words = f"AP {one.average_precision:.3f} against {other.average_precision:.3f}"
        return self._asked(one, words) | {"others": [self._answer(a) for a in other.answers]}

    def _asked(self, score: Score, words: str) -> dict[str, Any]:
        image, box = score.query.image, score.query.box
        url = self._url(image, None if box is None else tuple(box.as_list()))
        return {
            "query": {"url": url, "words": image.path, "verdict": ""},
            "words": words,
            "answers": [self._answer(answer) for answer in score.answers],
        }

    def _answer(self, answer: JudgedHit) -> dict[str, str]:
        verdict = {True: "right", False: "wrong", None: "junk"}[answer.right]
        image = self._images.get(answer.path)
        url = "" if image is None else self._url(image, None)
        return {"url": url, "words": answer.path, "verdict": verdict}


def _thumbnail_url(image: DatasetImage, box: tuple[float, ...] | None) -> str:
    """A small image; "" if it cannot be read, for which the page has a placeholder."""
    try:
        pixels = read_image(image.file.read_bytes(), reduce_to=2 * _THUMBNAIL)
    except (ImageError, OSError):
        return ""
    small = thumbnail(pixels.image, _THUMBNAIL)
    if box is not None:
        scale = small.width / image.size.width
        corners = [value * scale for value in box]
        ImageDraw.Draw(small).rectangle(corners, outline=BOX_COLOUR, width=2)
    return data_url(small)
