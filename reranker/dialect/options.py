"""Read camsearch's own keys: re-ranking and expansion, and their conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from reranker.dialect.images import IMAGE_KEYS, read_query_image
from reranker.dialect.searches import (
    DialectLimits,
    Expand,
    ImageQuery,
    Rerank,
    Slot,
)
from reranker.dialect.values import (
    a_flag,
    a_number,
    a_whole_number,
    an_object,
    invalid_value,
)
from reranker.errors import DialectError
from reranker.ranking import RerankBy

__all__ = ["NAME", "Options", "check_conflicts", "check_images", "read_rerank", "take_options"]

NAME = "camsearch"

_RANKING_KEYS = ("rank_window_size", "rerank", "expand")
_WINDOW = 100
_EXPAND_HITS = 10
_RERANK_BY: tuple[RerankBy, ...] = get_args(RerankBy)
_REFUSED = ("collapse", "search_after", "pit", "rescore", "slice")
_BY_SCORE: tuple[Any, ...] = (
    "_score",
    {"_score": "desc"},
    {"_score": {"order": "desc"}},
    {"_score": {}},
)


@dataclass(frozen=True)
class Options:
    """What to do with the first hits.

    Attributes:
        path: of the options in the body, for error sentences.
        image: their own image; None for that of the slots.
        rerank, expand: None if not asked for.
    """

    path: str
    image: ImageQuery | None
    rerank: Rerank | None = None
    expand: Expand | None = None

    @property
    def ranks(self) -> bool:
        """Whether hits are re-ranked or the query is expanded."""
        return self.rerank is not None or self.expand is not None

    def image_among(self, slots: Sequence[Slot]) -> ImageQuery:
        """The image that re-ranking and expansion compare with.

        Raises:
            DialectError: it is ambiguous, or no [knn] can run the second search.
        """
        images = list(dict.fromkeys(slot.image for slot in slots))
        image = self.image or (images[0] if len(images) == 1 else None)
        if image is None:
            found = "no image" if not images else f"{len(images)} different queries by image"
            raise DialectError(
                f"[{self.path}] must say what to look for, since the search has {found}: give it "
                "an [image]."
            )
        if self.expand and image not in images:
            raise DialectError(
                f"[{self.path}.expand] needs a [knn] with the same image, to search again."
            )
        return image


def take_options(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    """Remove `retriever.camsearch` or `ext.camsearch` from the body and parse it.

    Raises:
        DialectError: it is not valid, or both are present.
    """
    in_retriever = _take_retriever(body, limits)
    in_ext = _take_ext(body, limits)
    if in_retriever and in_ext:
        raise DialectError(
            "[ext.camsearch] and [retriever.camsearch] exclude each other: give one."
        )
    return in_retriever or in_ext


def _take_retriever(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    retriever = body.get("retriever")
    if not isinstance(retriever, dict) or NAME not in retriever:
        return None
    path = f"retriever.{NAME}"
    keys = ("retriever", *IMAGE_KEYS, *_RANKING_KEYS)
    given = an_object(retriever[NAME], path, keys)
    options = Options(path, _own_image(given, path, limits), *_ranking(given, path, limits))
    inner = given.get("retriever")
    if inner is not None:
        if not isinstance(inner, dict):
            raise invalid_value(f"{path}.retriever", "an object", inner)
        body["retriever"] = inner
        return options
    if body.get("knn") is None and body.get("query") is None:
        raise DialectError(
            f"[{path}] has nothing to re-rank: give it a [retriever], or the body [knn] or [query]."
        )
    del body["retriever"]
    return options


def _take_ext(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    """Without a ranking key only the first search runs; with one, hits are re-ranked."""
    ext = body.get("ext")
    if not isinstance(ext, dict) or NAME not in ext:
        return None
    path = f"ext.{NAME}"
    given = an_object(ext.pop(NAME), path, (*IMAGE_KEYS, *_RANKING_KEYS))
    options = Options(path, _own_image(given, path, limits))
    if any(key in given for key in _RANKING_KEYS):
        options = Options(path, options.image, *_ranking(given, path, limits))
    if not ext:
        del body["ext"]
    if options.image is None and not options.ranks:
        raise DialectError(f"[{path}] is empty: give it an [image].")
    return options


def _own_image(given: Mapping[str, Any], path: str, limits: DialectLimits) -> ImageQuery | None:
    if any(given.get(key) is not None for key in ("image", "images")):
        return read_query_image(given, path, limits)
    if given.get("box") is not None:
        raise DialectError(f"[{path}.box] needs [{path}.image]: give the image it lies in.")
    if given.get("without") is not None:
        raise DialectError(f"[{path}.without] needs [{path}.image] or [images]: say what to find.")
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
    rerank = read_rerank(given.get("rerank", True), f"{path}.rerank", window, limits)
    return rerank, _expand(given.get("expand"), f"{path}.expand", limits)


def read_rerank(value: Any, path: str, window: int, limits: DialectLimits) -> Rerank | None:
    """Read what is compared: true and {} mean the defaults, false and null no re-ranking.

    Raises:
        DialectError: it is not valid.
    """
    if value is None or value is False:
        return None
    if value is True:
        return Rerank(window)
    given = an_object(value, path, ("by", "regions", "classes", "refine"))
    by, classes = _rerank_by(given, path), given.get("classes")
    refine = given.get("refine") is not None and a_flag(given["refine"], f"{path}.refine")
    if refine and by not in {None, "windows"}:
        raise DialectError(
            f'[{path}.refine] fits the boxes of windows: leave it out, or re-rank by "windows".'
        )
    by = "windows" if refine else by
    if classes is None:
        return Rerank(window, by, refine=refine)
    if by == "windows":
        raise DialectError(
            f"[{path}.classes] does not apply to windows, which have their own classes: leave it "
            'out, or re-rank by "maps" or "images".'
        )
    classes = a_whole_number(classes, f"{path}.classes", 1, limits.classes)
    return Rerank(window, by or "maps", classes)


def _rerank_by(given: Mapping[str, Any], path: str) -> RerankBy | None:
    """What is compared; `regions` is how it was said before windows."""
    by, regions = given.get("by"), given.get("regions")
    if by is not None and regions is not None:
        raise DialectError(f"[{path}.by] and [{path}.regions] exclude each other: give [by].")
    if regions is not None:
        return "maps" if a_flag(regions, f"{path}.regions") else "images"
    if by is not None and by not in _RERANK_BY:
        raise invalid_value(f"{path}.by", '"windows", "maps" or "images"', by)
    found: RerankBy | None = by
    return found


def _expand(value: Any, path: str, limits: DialectLimits) -> Expand | None:
    """True and {} mean the defaults; false and null mean no expansion."""
    if value is None or value is False:
        return None
    given = {} if value is True else an_object(value, path, ("hits", "alpha"))
    hits = given.get("hits", min(_EXPAND_HITS, limits.expand_hits))
    return Expand(
        a_whole_number(hits, f"{path}.hits", 1, limits.expand_hits),
        a_number(given.get("alpha", 0), f"{path}.alpha", 0),
    )


def check_images(options: Options | None, slots: Sequence[Slot], limits: DialectLimits) -> None:
    """Raise `DialectError` for an image that is not used, and for too many images."""
    own = options.image if options else None
    images = {slot.image for slot in slots}
    every = images | ({own} if own else set())
    if (count := len({one for query in every for one in query.examples})) > limits.images:
        raise DialectError(
            f"The search has {count} different images, more than the {limits.images} allowed: "
            "send several searches."
        )
    if options and own and not options.ranks and own not in images:
        raise DialectError(
            f"[{options.path}.image] is not used: there is no [knn] without a vector, and no "
            "re-ranking."
        )


def check_conflicts(body: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Raise `DialectError` for keys and parameters that do not work with re-ranked hits."""
    found = [key for key in _REFUSED if body.get(key) is not None]
    found += ["scroll"] if "scroll" in parameters else []
    # Sorting by score is the default.
    sort, by_query = body.get("sort"), parameters.get("sort", "_score")
    sorts = [] if sort is None else sort if isinstance(sort, list) else [sort]
    by_score = all(one in _BY_SCORE for one in sorts) and by_query in {"_score", "_score:desc"}
    found += [] if by_score else ["sort"]
    if "_none_" in (body.get("stored_fields"), parameters.get("stored_fields")):
        found.append("stored_fields")  # hits would have no ids
    if found:
        raise DialectError(
            f"[{found[0]}] cannot be used together with re-ranking or expansion: leave it out, or "
            "ask for the first search only."
        )
    if parameters.get("format", "") not in {"", "json"}:
        raise DialectError(
            f"[format] must be json for re-ranked hits, not {parameters['format'][:20]}."
        )
