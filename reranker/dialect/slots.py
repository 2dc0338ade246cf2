"""Which `knn` clauses get their vector from us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reranker.dialect.clauses import NAME, Path, key_of, objects_of, written
from reranker.dialect.limits import DialectLimits
from reranker.dialect.pictures import PICTURE_KEYS, read_picture
from reranker.dialect.searches import PictureQuery, Slot
from reranker.dialect.values import an_object
from reranker.errors import DialectError

__all__ = ["Clause", "clauses_of", "read_slots"]

_BUILDER, _VECTOR = "query_vector_builder", "query_vector"
_HOISTED: Path = ("retriever", NAME, "retriever")


@dataclass(frozen=True)
class Clause:
    """An object under the key `knn`, where it stands, and whether its builder is ours."""

    path: Path
    content: dict[str, Any]

    @property
    def names_us(self) -> bool:
        """Whether its vector is to be made by us."""
        builder = self.content.get(_BUILDER)
        return isinstance(builder, dict) and NAME in builder

    @property
    def lacks_vector(self) -> bool:
        """Whether it is a search for neighbours that does not say of what."""
        content = self.content
        absent = content.get(_BUILDER) is None and content.get(_VECTOR) is None
        return absent and isinstance(content.get("field"), str)


def clauses_of(body: Mapping[str, Any]) -> list[Clause]:
    """All of them, wherever they stand."""
    return [Clause(path, one) for path, one in objects_of(body) if key_of(path) == "knn"]


def read_slots(
    clauses: Iterable[Clause], own: PictureQuery | None, limits: DialectLimits
) -> tuple[Slot, ...]:
    """The clauses that get vectors, their builders taken out of them.

    Args:
        clauses: of a body that is ours to change.
        own: picture of the search itself, for clauses that have neither vector nor builder.
        limits: of what may be asked.

    Raises:
        DialectError: a builder cannot be understood, or a clause asks for too much.
    """
    slots = []
    for clause in clauses:
        picture = own
        if clause.names_us:
            picture = _read_builder(clause, limits)
        elif not clause.lacks_vector:
            continue
        if picture is None:
            continue
        _check_k(clause, limits)
        for key in (_BUILDER, _VECTOR):
            clause.content.pop(key, None)
        slots.append(Slot(_forwarded(clause.path), _field_of(clause), picture))
    return tuple(slots)


def _read_builder(clause: Clause, limits: DialectLimits) -> PictureQuery:
    path = f"{written(clause.path)}.{_BUILDER}"
    if clause.content.get(_VECTOR) is not None:
        raise DialectError(f"[{path}] stands beside [{_VECTOR}]: give one of them.")
    builder = an_object(clause.content[_BUILDER], path, (NAME,))
    path = f"{path}.{NAME}"
    return read_picture(an_object(builder[NAME], path, PICTURE_KEYS), path, limits)


def _check_k(clause: Clause, limits: DialectLimits) -> None:
    """What is no number at all is Elasticsearch's to refuse."""
    k = clause.content.get("k")
    if isinstance(k, (int, float)) and k > limits.k:
        raise DialectError(
            f"[{written(clause.path)}.k] must be at most {limits.k:,} where the vector is made "
            f"from a picture, not {k}."
        )


def _field_of(clause: Clause) -> str:
    field = clause.content.get("field")
    return field if isinstance(field, str) else ""


def _forwarded(path: Path) -> Path:
    """Where a clause stands once our retriever is taken out from around the inner one."""
    if path[: len(_HOISTED)] == _HOISTED:
        return (path[0], *path[len(_HOISTED) :])
    return path
