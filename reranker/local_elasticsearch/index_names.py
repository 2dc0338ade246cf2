"""Whether an expression for indices, as it stands in a path, means the one that is there."""

from __future__ import annotations

from reranker.local_elasticsearch.refusals import no_such_index

__all__ = ["matches", "means"]


def means(expression: str, index: str, *, lenient: bool = False) -> bool:
    """Whether an expression means the index.

    Args:
        expression: names with commas between them, not percent-encoded; with ``*`` for any
            text, ``_all`` for all, and a minus before what is taken out again.
        index: the one that is there.
        lenient: a name that is not there means nothing instead of being an error.

    Raises:
        Refused: a name without a wildcard that is not there.
    """
    found = False
    for name in expression.split(","):
        if name == "_all" or ("*" in name and not name.startswith("-") and matches(name, index)):
            found = True
        elif name.startswith("-"):
            found = found and not matches(name[1:], index)
        elif name == index:
            found = True
        elif "*" not in name and not lenient:
            raise no_such_index(name)
    return found


def matches(pattern: str, text: str) -> bool:
    """Whether a text is as a pattern says, in which ``*`` stands for any text.

    Convention:
        Each piece between two stars is taken where it first fits: one pass over the text,
        whatever a client writes.
    """
    head, *rest = pattern.split("*")
    if not rest:
        return text == head
    *middle, tail = rest
    at, end = len(head), len(text) - len(tail)
    if at > end or not (text.startswith(head) and text.endswith(tail)):
        return False
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
