"""The kept summary of every intermediate: sum, length and first entries, in numbers.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.golden.real_steps import Steps

NUMBERS = Path(__file__).with_name("numbers.json")
_FIRST = 4

Summary = dict[str, Any]
Numbers = dict[str, dict[str, Summary]]


def summary(values: np.ndarray) -> Summary:
    """A few numbers that hardly stay the same if any of the values changes."""
    numbers = values.astype(float).ravel()
    # A sum alone would not see two values change places.
    weights = np.cos(np.arange(len(numbers)))
    return {
        "shape": list(values.shape),
        "sum": _short(numbers.sum()),
        "mixed": _short(numbers @ weights),
        "norm": _short(np.linalg.norm(numbers)),
        "first": [_short(v) for v in numbers[:_FIRST]],
    }


def summaries(steps: Steps) -> dict[str, Summary]:
    """The summary of each step."""
    return {name: summary(values) for name, values in steps.items()}


def read() -> Numbers:
    """What is kept; nothing before the first `make golden`."""
    numbers: Numbers = json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {}
    return numbers


def write(numbers: Numbers) -> None:
    """Keep these numbers, a line a step, so that a change is a readable diff."""
    cases = []
    for case, steps in numbers.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(step)}" for name, step in steps.items()]
        cases.append(f"{json.dumps(case)}: {{\n" + ",\n".join(lines) + "\n}")
    NUMBERS.write_text("{\n" + ",\n".join(cases) + "\n}\n")


def alike(before: Summary | None, after: Summary | None) -> bool:
    """Whether two summaries differ by the last digits of a machine's rounding only."""
    if before is None or after is None or before["shape"] != after["shape"]:
        return False
    reach = 1e-5 * max(1.0, after["norm"])
    return all(
        np.allclose(before[field], after[field], rtol=1e-5, atol=reach)
        for field in ("sum", "mixed", "norm", "first")
    )


def _short(value: float) -> float:
    return float(f"{value:.7g}")
