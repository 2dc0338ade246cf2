"""Time alternating calls, and their percentiles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Row", "percentiles", "take_turns", "timed_ms"]

# A row of results by column name.
Row: TypeAlias = dict[str, Any]


def percentiles(times: Sequence[float], digits: int = 3) -> Row:
    """The columns ``ms_p50`` and ``ms_p95``."""
    p50, p95 = np.percentile(times, [50, 95]).round(digits).tolist()
    return {"ms_p50": p50, "ms_p95": p95}


def timed_ms(call: Callable[[], object]) -> float:
    """Milliseconds of a call, including its work on a GPU."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def take_turns(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of two alternating calls, so that a slow machine affects both."""
    for _ in range(2):
        one(), other()
    both = [(timed_ms(one), timed_ms(other)) for _ in range(repeats)]
    return [first for first, _ in both], [second for _, second in both]
