"""The examples of docs/dialect.md, and what each must print."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "dialect.md"
LANGUAGES = ("bash", "python", "javascript")
# Of which some examples are whole programs.
PROGRAMS = ("go",)
_SPOKEN = (*LANGUAGES, *PROGRAMS)
_ELASTICSEARCH_ONLY = "<!-- Elasticsearch only -->"
_WITHOUT_PROXY = "<!-- Without the proxy -->"
_FENCE = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
# Names such as cat-1, then numbers, then words.
_SAID = re.compile(r"[a-z]+-\d+|-?\d+(?:\.\d+)?|[A-Za-z]{3,}")
# Another processor rounds otherwise, by which an edge of a box may move by a cell.
_SCORE, _PIXELS = 0.02, 33


@dataclass(frozen=True)
class Example:
    """One way to ask, with the lines that all of its language start with.

    Attributes:
        heading: under which it stands.
        language: of its code.
        code: with the lines it goes on from.
        printed: what it must print.
        elasticsearch_only: a gallery in a folder does not answer it.
        without_proxy: Elasticsearch answers it by itself.
    """

    heading: str
    language: str
    code: str
    printed: str
    elasticsearch_only: bool
    without_proxy: bool


def examples(page):
    start: dict[str, str] = {}
    heading, waiting = "", {}
    for found in _FENCE.finditer(page):
        if found["heading"]:
            heading, waiting = found["heading"], {}
        elif found["kind"] in _SPOKEN and not heading:
            start[found["kind"]] = found["code"]
        elif found["kind"] in _SPOKEN:
            waiting[found["kind"]] = found["code"]
        else:
            section = page[page.rindex(f"## {heading}", 0, found.start()) : found.start()]
            marks = (_ELASTICSEARCH_ONLY in section, _WITHOUT_PROXY in section)
            for language, code in waiting.items():
                whole = start.get(language, "") + code
                yield Example(heading, language, whole, found["code"], *marks)
            waiting = {}


def differs(expected, printed):
    """How what was printed is not what the page says; None if it is.

    Convention:
        Names, numbers and words must agree, in their order; brackets and quotes are each
        language's own.
    """
    wanted, got = _SAID.findall(expected), _SAID.findall(printed)
    return None if _agree(wanted, got) else f"{got} instead of {wanted}"


def _agree(wanted, got):
    return len(wanted) == len(got) and all(map(_alike, wanted, got))


def _alike(wanted, got):
    try:
        one, other = float(wanted), float(got)
    except ValueError:
        return wanted == got
    if "." not in wanted and "." not in got and one < 10:  # a rank
        return one == other
    return math.isclose(one, other, abs_tol=_PIXELS if one > 1 else _SCORE)
