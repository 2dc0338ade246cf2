"""`make golden`: print old and new numbers side by side, then keep the new ones.

Run it only where results were meant to change, and put what it prints into the changelog:
``.venv/bin/python -m tests.golden.regenerate`` in the repository's root.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.golden import numbers
from tests.golden.cases import cases
from tests.golden.real_steps import real_steps

if TYPE_CHECKING:
    from tests.golden.numbers import Summary

_FIELDS = ("shape", "sum", "mixed", "norm", "first")


def main() -> None:
    """Compare, print, rewrite."""
    old = numbers.read()
    new = {case.name: numbers.summaries(real_steps(case)) for case in cases()}
    same = 0
    for case in sorted({*old, *new}):
        before, after = old.get(case, {}), new.get(case, {})
        for step in dict.fromkeys([*after, *before]):
            if numbers.alike(before.get(step), after.get(step)):
                after[step] = before[step]
                same += 1
            else:
                _print(f"{case} {step}", before.get(step), after.get(step))
    numbers.write(new)
    sys.stdout.write(f"{same} steps stay as they are. {numbers.NUMBERS}\n")


def _print(name: str, before: Summary | None, after: Summary | None) -> None:
    sys.stdout.write(f"{name}\n")
    for field in _FIELDS:
        old = "-" if before is None else str(before[field])
        new = "-" if after is None else str(after[field])
        mark = " " if old == new else "*"
        sys.stdout.write(f" {mark} {field:6} {old:>50} -> {new}\n")


if __name__ == "__main__":
    main()
