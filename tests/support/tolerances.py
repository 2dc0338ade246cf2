"""How far two results may lie apart, in one table, by what separates them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """Allowed: ``rtol`` of the expected value plus ``atol``, as numpy means them."""

    rtol: float
    atol: float

    def check(self, expected: object, actual: object, what: str = "") -> None:
        """Fail, naming the step, where the two lie farther apart."""
        np.testing.assert_allclose(
            np.asarray(actual), np.asarray(expected), self.rtol, self.atol, err_msg=what
        )


# float32 against the loops in float64, or against kept numbers.
FLOAT32 = Tolerance(1e-4, 1e-5)
# The same numbers in another order of sums: batches and single images, cuts and windows.
SAME_NUMBERS = Tolerance(1e-4, 1e-5)
# After a whitening, which divides by small deviations and so enlarges rounding.
WHITENED = Tolerance(1e-3, 1e-4)
# Kept numbers that went through a fitted whitening: the fit differs a little by machine too.
KEPT_WHITENED = Tolerance(5e-3, 1e-3)
# 8-bit levels summed in bfloat16 against the same values in float32.
EIGHT_BIT = Tolerance(2e-2, 8e-3)
# Cosine of descriptors made with float32 and with bfloat16 autocast.
MIN_COSINE = 1 - 1e-2
# A unit vector's length.
UNIT = 1e-5

_WHITENED_STEPS = ("whitened", "aggregated", "descriptor", "online", "cosines", "score", "expanded")


def golden_tolerance(step: str, *, kept: bool) -> Tolerance:
    """Of one golden step, against the loops or (`kept`) against numbers.json."""
    parts = step.replace("_", ".").split(".")
    if any(part in _WHITENED_STEPS for part in parts):
        return KEPT_WHITENED if kept else WHITENED
    return FLOAT32
