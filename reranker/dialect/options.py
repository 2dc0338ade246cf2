"""Read camsearch's own keys: images with boxes, re-ranking, expansion, and their conflicts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descriptors.arrays import Box
from reranker.dialect.searches import (
    DialectLimits,
    Expand,
    ImageQuery,
    ImageSource,
    Rerank,
    Slot,
)
from reranker.dialect.values import (
    a_flag,
    a_number,
    a_text,
    a_whole_number,
    an_object,
    refusal,
)
from reranker.errors import DialectError

__all__ = ["IMAGE_KEYS", "NAME", "Options", "check_conflicts", "check_images"]
__all__ += ["read_query_image", "take_options"]

NAME = "camsearch"
IMAGE_KEYS = ("image", "box")

_RANKING_KEYS = ("rank_window_size", "rerank", "expand")
_WINDOW = 100
_EXPAND_HITS = 10
_SOURCES = ("data", "id", "url")
_COORDINATES = 4
_MAX_ID = 512  # Elasticsearch's, in bytes
_MAX_URL = 8191
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
            found = "no image" if not images else f"{len(images)} different images"
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
            raise refusal(f"{path}.retriever", "an object", inner)
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
    if given.get("image") is not None:
        return read_query_image(given, path, limits)
    if given.get("box") is not None:
        raise DialectError(f"[{path}.box] needs [{path}.image]: give the image it lies in.")
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
    """True and {} mean the defaults; false and null mean no re-ranking."""
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
    if (count := len(images | ({own} if own else set()))) > limits.images:
        raise DialectError(
            f"The search has {count} different images, more than the {limits.images} allowed: "
            "send several searches."
        )
    if options and own and not options.ranks and own not in images:
        raise DialectError(
            f"[{options.path}.image] is not used: there is no [knn] without a vector, and no "
            "re-ranking."
        )


def read_query_image(value: Mapping[str, Any], path: str, limits: DialectLimits) -> ImageQuery:
    """Read `image` and the optional `box` of an object.

    Raises:
        DialectError: a value is not valid. Null is the same as an absent key.
    """
    box = value.get("box")
    image = _read_image(value.get("image"), f"{path}.image", limits)
    return ImageQuery(image, None if box is None else _read_box(box, f"{path}.box"))


def _read_image(value: Any, path: str, limits: DialectLimits) -> ImageSource:
    given = {k: v for k, v in an_object(value, path, _SOURCES).items() if v is not None}
    if len(given) != 1:
        raise DialectError(
            f"[{path}] must have exactly one of [data], [id] and [url], not {len(given)}."
        )
    [(source, text)] = given.items()
    path = f"{path}.{source}"
    if source == "data":
        return ImageSource(data=_read_base64(text, path, limits.image_bytes))
    if source == "id":
        return ImageSource(id=a_text(text, path, _MAX_ID))
    return ImageSource(url=a_text(text, path, _MAX_URL))


def _read_base64(value: Any, path: str, most: int) -> bytes:
    """Decode base64, with line breaks or as a data URL."""
    text = value if isinstance(value, str) else ""
    text = text.partition(",")[2] if text.startswith("data:") else text
    if "\n" in text:
        text = text.replace("\r", "").replace("\n", "")
    if len(text) * 3 // 4 - 2 > most:
        raise DialectError(
            f"[{path}] has more than the {most:,} bytes allowed: send a smaller image, "
            "or raise CAMSEARCH_SERVE_MAX_IMAGE."
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise refusal(path, "the base64 of an image's file", value) from error
    if not data:
        raise refusal(path, "the base64 of an image's file", value)
    return data


def _read_box(value: Any, path: str) -> Box:
    if not isinstance(value, list):
        raise refusal(path, "[x0, y0, x1, y1], pixels of the upright image", value)
    if len(value) != _COORDINATES:
        raise DialectError(
            f"[{path}] has {len(value)} numbers: give four, [x0, y0, x1, y1], pixels of the "
            "upright image."
        )
    x0, y0, x1, y1 = (a_number(v, f"{path}.{i}", 0) for i, v in enumerate(value))
    if x1 <= x0 or y1 <= y0:
        raise DialectError(f"[{path}] is empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1.")
    return Box(x0, y0, x1, y1)


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
