"""Laws of the search dialect, for searches and answers that nobody thought of."""

from __future__ import annotations

import copy
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.dialect.answers import RankedHit, answer_of, filtered
from reranker.dialect.msearch import parse_msearch
from reranker.dialect.parsing import naming_us, parse_search
from reranker.dialect.searches import DialectLimits, VisualSearch, first_body
from reranker.errors import DialectError

LIMITS = DialectLimits(depth=40)
WORDS = ["knn", "query", "query_vector_builder", "query_vector", "retriever", "retrievers", "ext"]
WORDS += ["bool", "must", "aggs", "params", "field", "size", "from", "fields", "sort", "k", "a.b"]
OURS = ["camsearch", "image", "box", "data", "id", "rerank", "rank_window_size", "expand", "hits"]

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.sampled_from(["camsearch", "x", "_score", "YQ=="])


def json_with(keys):
    objects = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=4)
        ),
        max_leaves=15,
    )
    return st.dictionaries(st.sampled_from(keys), objects, max_size=5)


# Searches that are nearly right, so that what is wrong with them lies deep inside.
images = st.fixed_dictionaries(
    {"image": st.sampled_from([{"id": "a"}] * 5 + [{"data": "YQ=="}, {}, 5])},
    optional={
        "box": st.sampled_from([[1, 2, 3, 4], [1, 2, 3, 4], None, "x"]),
        "without": st.sampled_from([[{"id": "b"}], None, [], {}]),
    },
) | st.fixed_dictionaries(
    {"images": st.sampled_from([[{"id": "a"}], [{"id": "a", "box": [1, 2, 3, 4]}] * 2, [], 5])},
)
clauses = st.fixed_dictionaries(
    {"field": st.just("descriptor")},
    optional={"query_vector_builder": st.fixed_dictionaries({"camsearch": images}), "k": leaves},
)
rankings = st.fixed_dictionaries(
    {"image": st.sampled_from([{"id": "a"}, {"id": "a"}, {"id": "b"}, None])},
    optional={
        "rank_window_size": st.sampled_from([1, 50, 7, 200, 0, "x"]),
        "rerank": st.sampled_from([True, False, None, {}, {"regions": False}, {"classes": 0}]),
        "expand": st.sampled_from([None, {}, {"hits": 3}, {"alpha": -1}]),
    },
)
retrievers = st.recursive(
    st.fixed_dictionaries({"knn": clauses}),
    lambda inner: st.fixed_dictionaries(
        {"rrf": st.fixed_dictionaries({"retrievers": st.lists(inner, max_size=3)})}
    ),
    max_leaves=4,
)


def searches(rankings):
    """Bodies with a retriever, what we do with it in one of our two places, or neither."""
    return st.builds(
        lambda body, inner, ours, where: (
            body
            | {
                "retriever": {"retriever": {"camsearch": {"retriever": inner} | ours}},
                "ext": {"ext": {"camsearch": ours}, "retriever": inner},
                "neither": {"retriever": inner},
            }[where]
        ),
        json_with(["query", "knn", "bool", "params", "aggs", "k", "a.b"]),
        retrievers,
        rankings,
        st.sampled_from(["retriever", "ext", "neither"]),
    )


nearly_right = searches(rankings)
not_ranking = searches(st.just({"image": {"id": "a"}, "rerank": False}))


@given(json_with(WORDS))
def test_a_body_without_our_names_is_not_ours(body):
    assert parse_search(orjson.dumps(body), "size=x", LIMITS) is None


@given(
    json_with(WORDS + OURS) | nearly_right, st.text(alphabet="size=from&;%20pretty", max_size=12)
)
def test_no_body_is_worse_than_a_refusal(body, query):
    try:
        search = parse_search(orjson.dumps(body), query, LIMITS)
    except DialectError:
        return
    if search is not None:
        sent = first_body(search, {image: [0.5] for image in search.images})
        assert parse_search(sent, "", LIMITS) is None


@given(
    st.binary(max_size=200) | st.builds(lambda a, b: a + b"camsearch" + b, st.binary(), st.binary())
)
def test_no_bytes_are_worse_than_a_refusal(body):
    assert parse_search(body, "", LIMITS) is None
    assert parse_msearch(body, "", LIMITS) is None


@given(st.lists(st.tuples(json_with(WORDS), nearly_right), max_size=4))
def test_no_msearch_is_worse_than_a_refusal(pairs):
    body = b"".join(orjson.dumps(one) + b"\n" for pair in pairs for one in pair)
    several = parse_msearch(body, "", LIMITS)
    ours = [naming_us(orjson.dumps(search)) is not None for _, search in pairs]
    if several is None:
        assert not any(ours)
        return
    assert [item.is_ours for item in several.items] == ours
    others = [pair for pair, is_ours in zip(pairs, ours, strict=True) if not is_ours]
    assert several.others == b"".join(orjson.dumps(one) + b"\n" for pair in others for one in pair)


@given(not_ranking, st.lists(numbers, min_size=1, max_size=3))
def test_a_first_search_changes_nothing_but_its_slots(body, vector):
    try:
        search = parse_search(orjson.dumps(body), "", LIMITS)
    except DialectError:
        return
    if search is None:
        return
    sent = orjson.loads(first_body(search, dict.fromkeys(search.images, vector)))
    for slot in search.slots:
        clause = sent
        for part in slot.path:
            clause = clause[part]
        assert clause.pop("query_vector") == vector
    expected = without_builders(orjson.loads(orjson.dumps(body)))
    if "camsearch" in expected.get("retriever", {}):
        expected["retriever"] = expected["retriever"]["camsearch"]["retriever"]
    if "ext" in expected:
        del expected["ext"]
    assert sent == expected


def without_builders(value):
    """A body whose clauses have lost the builders that name us, by brute force."""
    if isinstance(value, list):
        return [without_builders(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {k: without_builders(v) for k, v in value.items()}
    if "camsearch" in (
        kept.get("query_vector_builder") or ()
        if isinstance(kept.get("query_vector_builder"), dict)
        else ()
    ):
        del kept["query_vector_builder"]
    return kept


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 12))
def test_pages_hold_every_hit_once(order, size, window):
    hits = [{"_id": str(i), "_score": (i + 1) / 13} for i in range(12)]
    first = {"took": 1, "hits": {"total": {"value": 12, "relation": "eq"}, "hits": hits}}
    ordered = [
        RankedHit(hits[i], 0.5 if place < window else None, None, 0.1, i + 1)
        for place, i in enumerate(order)
    ]
    before = copy.deepcopy(first)
    pages = [
        answer_of(VisualSearch({}, start=start, size=size), first, ordered, 5)["hits"]
        for start in range(0, 12, size)
    ]
    assert [hit["_id"] for page in pages for hit in page["hits"]] == [str(i) for i in order]
    assert len({page["max_score"] for page in pages}) == 1
    assert first == before


KEYS = ["a", "b", "ab", "a.b"]
names = st.sampled_from(["a", "b", "ab", "a\\.b", "*", "**", "a*", "*b", "***", ""])
paths = st.builds(
    lambda minus, names: minus + ".".join(names),
    st.sampled_from(["", "", "-"]),
    st.lists(names, min_size=1, max_size=4),
)
answers = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), answers), st.lists(paths, max_size=3))
def test_filter_path_is_what_each_whole_path_says(answer, written):
    wanted = [as_regex(path) for path in written if not path.startswith("-")]
    unwanted = [as_regex(path[1:]) for path in written if path.startswith("-")]

    def stays(path):
        prefixes = [path[:i] for i in range(1, len(path) + 1)]
        joined = ["/".join(prefix) for prefix in prefixes]
        asked = not wanted or any(w.fullmatch(one) for w in wanted for one in joined)
        return asked and not any(u.fullmatch(one) for u in unwanted for one in joined)

    def rebuilt(value, path):
        """A list with what stays of a value, or an empty one."""
        if isinstance(value, dict) and value:
            kept = {k: v for k, one in value.items() for v in rebuilt(one, (*path, k))}
            return [kept] if kept else []
        if isinstance(value, list) and value:
            kept = [v for one in value for v in rebuilt(one, path)]
            return [kept] if kept else []
        return [value] if stays(path) else []

    model = {k: v for k, one in answer.items() for v in rebuilt(one, (k,))}
    assert filtered(answer, ",".join(written)) == model


def as_regex(path):
    """The pattern of a path whose names are joined by slashes."""
    parts = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path)]
    each = [
        "[^/]+(/[^/]+)*" if part == "**" else "[^/]*".join(map(re.escape, part.split("*")))
        for part in parts
    ]
    return re.compile("/".join(each))


@pytest.mark.parametrize("path", ["a" * 30 + ".b", "**." * 20 + "x", "*a" * 20 + "*b"])
def test_filter_path_does_not_take_long(path):
    answer = value = {}
    for _ in range(40):
        value["a" * 30] = value = {}
    assert filtered(answer, path) == {}
