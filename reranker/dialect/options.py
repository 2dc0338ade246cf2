"""What `retriever.camsearch` and `ext.camsearch` say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reranker.dialect.limits import DialectLimits
from reranker.dialect.pictures import PICTURE_KEYS, read_picture
from reranker.dialect.searches import Expand, PictureQuery, Rerank
from reranker.dialect.values import a_flag, a_number, a_whole_number, an_object
from reranker.errors import DialectError

__all__ = ["Options", "read_ext", "read_retriever"]

_RANKING_KEYS = ("rank_window_size", "rerank", "expand")
_WINDOW = 100
_EXPAND_HITS = 10


@dataclass(frozen=True)
class Options:
    """What is to be done with the first hits.

    Attributes:
        path: where they stand, for refusals.
        picture: of their own; None: the picture of the slots.
        rerank, expand: None for none.
    """

    path: str
    picture: PictureQuery | None
    rerank: Rerank | None
    expand: Expand | None

    @property
    def ranks(self) -> bool:
        """Whether anything is to be done."""
        return self.rerank is not None or self.expand is not None


def read_retriever(value: Any, path: str, limits: DialectLimits) -> Options:
    """What `retriever.camsearch` says beside its inner retriever.

    Raises:
        DialectError: it cannot be understood.
    """
    given = an_object(value, path, ("retriever", *PICTURE_KEYS, *_RANKING_KEYS))
    return Options(path, _own_picture(given, path, limits), *_ranking(given, path, limits))


def read_ext(value: Any, path: str, limits: DialectLimits) -> Options:
    """What `ext.camsearch` says.

    Raises:
        DialectError: it cannot be understood.

    Convention:
        With none of the keys about ranking the first search is all; with any of them the
        others are as in `retriever.camsearch`, so the hits are re-ranked unless `rerank` is
        false.
    """
    given = an_object(value, path, (*PICTURE_KEYS, *_RANKING_KEYS))
    picture = _own_picture(given, path, limits)
    if not any(key in given for key in _RANKING_KEYS):
        return Options(path, picture, None, None)
    return Options(path, picture, *_ranking(given, path, limits))


def _own_picture(given: Mapping[str, Any], path: str, limits: DialectLimits) -> PictureQuery | None:
    if given.get("image") is not None:
        return read_picture(given, path, limits)
    if given.get("box") is not None:
        raise DialectError(f"[{path}.box] needs [{path}.image]: give the picture it lies in.")
    return None


def _ranking(
    given: Mapping[str, Any], path: str, limits: DialectLimits
) -> tuple[Rerank | None, Expand | None]:
    window = a_whole_number(
        given.get("rank_window_size", min(_WINDOW, limits.window)),
        f"{path}.rank_window_size",
        1,
        limits.window,
    )
    rerank = _rerank(given.get("rerank", True), f"{path}.rerank", window, limits)
    return rerank, _expand(given.get("expand"), f"{path}.expand", limits)


def _rerank(value: Any, path: str, window: int, limits: DialectLimits) -> Rerank | None:
    """True and an empty object are the method as it is; false and null are no re-ranking."""
    if value is None or value is False:
        return None
    if value is True:
        return Rerank(window)
    given = an_object(value, path, ("regions", "classes"))
    classes = given.get("classes")
    if classes is not None:
        classes = a_whole_number(classes, f"{path}.classes", 1, limits.classes)
    return Rerank(window, a_flag(given.get("regions", True), f"{path}.regions"), classes)


def _expand(value: Any, path: str, limits: DialectLimits) -> Expand | None:
    """Null and false are no expansion, true is the plain one."""
    if value is None or value is False:
        return None
    given = {} if value is True else an_object(value, path, ("hits", "alpha"))
    hits = given.get("hits", min(_EXPAND_HITS, limits.expand_hits))
    return Expand(
        a_whole_number(hits, f"{path}.hits", 1, limits.expand_hits),
        a_number(given.get("alpha", 0), f"{path}.alpha", 0),
    )
