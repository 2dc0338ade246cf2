"""Plots of an evaluation as SVG elements, to embed in a page."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evaluation.ablation import Variant
    from evaluation.scores import Row, Score
    from evaluation.significance import QueryDifference

__all__ = [
    "difference_plot",
    "precision_at_recall",
    "recall_plot",
    "require_matplotlib",
    "stage_plot",
    "sweep_plot",
]

# Steps of recall at which precision is averaged over queries.
_RECALLS = np.linspace(0, 1, 101)

_WIDE, _SMALL = (9.0, 4.2), (4.4, 3.2)


def require_matplotlib() -> None:
    """Refuse a report that could not be drawn, before anything is measured.

    Raises:
        RequestError: without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(
            "A report of an evaluation needs matplotlib: pip install 'camsearch[evaluate]'."
        )


def precision_at_recall(scores: Sequence[Score]) -> Float64[np.ndarray, " R"]:
    """The mean over queries of the precision at each share of the right answers found.

    Convention:
        Interpolated: the best precision at this recall or any higher one, so that curves of
        queries with few right answers can be averaged; 0 where this share was never found.
    """
    curves = np.zeros((len(scores), len(_RECALLS)))
    for curve, score in zip(curves, scores, strict=True):
        found = np.arange(1, len(score.ranks) + 1)
        precision = found / (np.array(score.ranks, dtype=np.int64) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        # The first hit at which this share is found, in spite of rounding.
        at = np.searchsorted(found / score.positives, _RECALLS - 1e-9)
        reached = at < len(best)
        curve[reached] = best[at[reached]]
    mean: Float64[np.ndarray, " R"] = curves.mean(axis=0)
    return mean


def recall_plot(curves: Mapping[str, Sequence[Score]]) -> str:
    """Precision against recall, a curve per system."""
    figure, axes = _figure(_WIDE)
    for name, scores in curves.items():
        axes.plot(_RECALLS, precision_at_recall(scores), label=name, linewidth=1.6)
    axes.set(xlabel="recall", ylabel="precision (interpolated, mean over queries)", xlim=(0, 1))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _svg(figure)


def stage_plot(rows: Sequence[Row]) -> str:
    """MAP of each system at each of its stages, best system first."""
    stages = list(dict.fromkeys(row.stage for row in rows))
    best: dict[str, float] = {}
    for row in rows:
        best[row.system] = max(best.get(row.system, 0.0), row.all)
    names = sorted(best, key=lambda name: -best[name])
    # Room for a line a system, and for a line a stage in the legend.
    figure, axes = _figure((9.0, 1.2 + max(0.3 * len(names), 0.18 * len(stages))))
    for stage in stages:
        here = {row.system: row.all for row in rows if row.stage == stage}
        places = [place for place, name in enumerate(names) if name in here]
        axes.plot([here[names[p]] for p in places], places, "o", label=stage, markersize=5)
    axes.set(yticks=range(len(names)), yticklabels=names, xlabel="mAP")
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _svg(figure)


def sweep_plot(setting: str, variants: Sequence[Variant]) -> str:
    """MAP against the values of one setting, with the interval of the gain; "" without any."""
    measured = [variant for variant in variants if variant.mean is not None]
    if not measured:
        return ""
    figure, axes = _figure(_SMALL)
    places, labels = list(range(len(measured))), [variant.value for variant in measured]
    means = [variant.mean or 0.0 for variant in measured]
    axes.plot(places, means, "-o", color="#2f6f8f", markersize=4, linewidth=1.4)
    bounds = list(means)
    for place, variant in zip(places, measured, strict=True):
        if variant.against is not None and variant.mean is not None:
            default = variant.mean - variant.against.gained
            ends = (default + variant.against.low, default + variant.against.high)
            axes.vlines(place, *ends, color="#2f6f8f", alpha=0.4)
            bounds += ends
        if variant.default:
            axes.plot(
                [place], [variant.mean or 0.0], "o", color="#b3321f", markersize=8, fillstyle="none"
            )
    axes.set(xticks=places, xticklabels=labels, xlabel=setting, ylabel="mAP")
    axes.set_ylim(min(bounds) - 0.02, max(bounds) + 0.02)
    if max(map(len, labels)) > 6:  # noqa: PLR2004 - longer ones would run into each other
        axes.tick_params(axis="x", rotation=30)
    return _svg(figure)


def difference_plot(differences: Sequence[QueryDifference], one: str, other: str) -> str:
    """The gain of each query between two systems, greatest first."""
    figure, axes = _figure((9.0, 3.0))
    gained = np.array([difference.gained for difference in differences])
    colours = np.where(gained >= 0, "#13714a", "#b3321f").tolist()
    axes.bar(np.arange(len(gained)), gained, width=1.0, color=colours)
    axes.axhline(0, color="#444", linewidth=0.8)
    axes.set_title(f"{one} less {other}", fontsize=9, loc="left")
    axes.set(xlabel="queries", ylabel="AP gained or lost", xlim=(-0.5, len(gained) - 0.5))
    return _svg(figure)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=True, color="#ddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The ``svg`` element alone, without the head of a file."""
    import matplotlib as mpl

    file = io.StringIO()
    # Text stays text, and the same figures give the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "camsearch"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    text = file.getvalue()
    return text[text.index("<svg") :]
