"""The local gallery's filters against a plain reading of each."""

from __future__ import annotations

import json
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galleries.checks import check_meta
from galleries.documents import ImageClass
from galleries.errors import MalformedDocument
from galleries.filters import (
    And,
    Everything,
    Exists,
    Ids,
    Not,
    Or,
    Range,
    Term,
    Terms,
    parse_filter,
)
from galleries.local import LocalGallery
from galleries.local_filters import comparable, number_written
from tests.support.documents import document, ids_of

NUMBERS = st.sampled_from([0, 1, 2, 1.0, 1.5, -1, 0.1, 1e300, 2**62, 2**63, 2**64, 2**70, 10**400])
TEXTS = st.sampled_from(["", "a", "A", "é", "1", "1.0", "01", "1.5", "-1", "true", "null", "1e300"])
TEXTS |= st.sampled_from(["18446744073709551616", "x\0y", "x", "'\"\\"])
SCALARS = NUMBERS | TEXTS | st.booleans()
KEYS = st.sampled_from(["a", "b", "a.b", "", "é'\"[0]$"])
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=2),
    max_leaves=4,
)


def can_be_held(meta):
    try:
        check_meta("a", meta)
    except MalformedDocument:
        return False
    return True


IDS = ["a", "b", "c", "1"]
# What is said of a document. Documents and filters are built within the test: the checks of their
# types draw random numbers, which hypothesis does not let its strategies do.
SAID = st.fixed_dictionaries(
    {
        "width": st.integers(1, 3),
        "indexed_at": st.sampled_from(["", "2024-01-01", "2025"]),
        "classes": st.lists(st.sampled_from("ab"), max_size=2),
        "meta": st.dictionaries(KEYS, VALUES, max_size=3),
    }
)
DOCUMENTS = st.dictionaries(st.sampled_from(IDS), SAID, min_size=1)

PATHS = st.lists(KEYS, min_size=1, max_size=3).map(".".join).filter(bool).map("meta.{}".format)
FIELDS = PATHS | st.sampled_from(
    ["id", "_id", "uri", "digest", "width", "revision", "indexed_at", "classes", "classes.name"]
)
BOUNDS = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS | TEXTS, max_size=2)
QUERIES = st.recursive(
    st.fixed_dictionaries({"term": st.dictionaries(FIELDS, SCALARS, min_size=1, max_size=1)})
    | st.fixed_dictionaries({"term": st.dictionaries(PATHS, SCALARS, min_size=1, max_size=1)})
    | st.fixed_dictionaries(
        {"terms": st.dictionaries(FIELDS, st.lists(SCALARS, max_size=3), min_size=1, max_size=1)}
    )
    | st.fixed_dictionaries({"range": st.dictionaries(FIELDS, BOUNDS, min_size=1, max_size=1)})
    | st.fixed_dictionaries({"exists": st.fixed_dictionaries({"field": FIELDS})})
    | st.fixed_dictionaries(
        {"ids": st.fixed_dictionaries({"values": st.lists(st.sampled_from([*IDS, "z"]))})}
    ),
    lambda inside: st.fixed_dictionaries(
        {
            "bool": st.fixed_dictionaries(
                {},
                optional={
                    "must": inside,
                    "should": st.lists(inside, max_size=3),
                    "must_not": st.lists(inside, max_size=2),
                    "minimum_should_match": st.integers(0, 3),
                },
            )
        }
    ),
    max_leaves=6,
)


def made(id_, said):
    classes = tuple(ImageClass(name, 0.5) for name in said["classes"])
    return document(id_, **said | {"classes": classes})


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    with LocalGallery.create(tmp_path_factory.mktemp("gallery"), 4, "f", {}) as opened:
        yield opened


def values_at(one, field):
    """All values that a document has in a field, lists and objects laid out."""
    if field in ("classes", "classes.name"):
        return [image_class.name for image_class in one.classes]
    if not field.startswith("meta."):
        value = getattr(one, field.removeprefix("_"))
        return [] if field == "indexed_at" and value == "" else [value]
    return [value for path, value in below("meta", one.meta) if path == field]


def below(path, value):
    """All values below a path, with their own paths."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in below(f"{path}.{key}", value[key])]
    if isinstance(value, list):
        return [leaf for element in value for leaf in below(path, element)]
    return [] if value is None else [(path, value)]


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value):
    """A number, or the number that JSON writes as this text."""
    if is_number(value):
        return value
    try:
        number = json.loads(value)
    except (TypeError, ValueError):
        return None
    return number if is_number(number) and json.dumps(number) == value else None


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def same(had, asked):
    if is_number(had):
        return had == as_number(asked)
    return as_text(had) == as_text(asked)


def keeps(had, bounds):
    """Whether one value keeps all bounds."""
    if is_number(had):
        value, limits = had, {key: as_number(bound) for key, bound in bounds.items()}
    else:
        value = as_text(had)
        limits = {key: bound if isinstance(bound, str) else None for key, bound in bounds.items()}
    return all(
        limit is not None and getattr(operator, key.replace("te", "e"))(value, limit)
        for key, limit in limits.items()
    )


def holds(node, one):  # noqa: PLR0911 - one line a kind of filter
    """Whether a filter holds for a document."""
    match node:
        case Everything():
            return True
        case Term(field, value):
            return any(same(had, value) for had in values_at(one, field))
        case Terms(field, values):
            return any(same(had, value) for had in values_at(one, field) for value in values)
        case Range(field, bounds):
            return any(keeps(had, bounds) for had in values_at(one, field))
        case Exists(field):
            paths = {path for path, _ in below("meta", one.meta)}
            deeper = any(path.startswith(f"{field}.") for path in paths)
            return deeper or values_at(one, field) != []
        case Ids(ids):
            return one.id in ids
        case And(parts):
            return all(holds(part, one) for part in parts)
        case Or(parts, least):
            return sum(holds(part, one) for part in parts) >= least
        case Not(part):
            return not holds(part, one)


@settings(max_examples=60)
@given(said=DOCUMENTS, queries=st.lists(QUERIES, min_size=1, max_size=6))
def test_it_finds_what_a_plain_reading_finds(gallery, said, queries):
    documents = [made(i, said[i]) for i in sorted(said) if can_be_held(said[i]["meta"])]
    gallery.delete(IDS)
    gallery.put(documents)
    for matching in map(parse_filter, queries):
        expected = [one.id for one in documents if holds(matching, one)]
        assert ids_of(gallery.documents(matching)) == expected


def test_a_tree_may_be_deep_and_wide(gallery):
    gallery.delete(IDS)
    gallery.put([document("a", meta={"a": [0.5, 2]})])
    leaf = Or((Term("meta.a", 0.5), Range("meta.a", {"gt": 1, "lt": "z"}), Exists("meta.b")), 2)
    node = leaf
    for _ in range(9):
        node = And((leaf, Not(Not(node))))
    assert gallery.count(And((node,) * 60)) == 0
    assert gallery.count(Or((Not(node), Exists("meta.a")), 2)) == 1


def test_many_fractions_are_found_exactly(gallery):
    gallery.put([document("a", meta={"a": 0.1}), document("b", meta={"a": 0.10000000000000002})])
    assert gallery.count(Terms("meta.a", tuple(i / 10 for i in range(40_000)))) == 1


def test_a_value_that_is_no_unicode_is_nobodys_value(gallery):
    gallery.put([document("a")])
    assert gallery.count(Term("uri", "\ud800")) == 0
    assert gallery.count(Ids(("\ud800",))) == 0


def test_what_is_written_meanwhile_is_filtered_by(gallery, tmp_path):
    with LocalGallery.create(tmp_path, 4, "f", {}) as mine, LocalGallery.open(tmp_path) as other:
        for number, writer in enumerate((mine, other, mine)):
            writer.put([document("a", meta={"n": number})])
            assert [g.count(Term("meta.n", number)) for g in (mine, other)] == [1, 1]
            writer.put_meta({"a": {"n": -1}})
            assert [g.count(Term("meta.n", number)) for g in (mine, other)] == [0, 0]


def test_a_text_is_a_number_only_as_json_writes_it():
    numbers = {"0": 0, "-17": -17, "1.5": 1.5, "1e+16": 1e16, "18446744073709551616": 2.0**64}
    for text, number in numbers.items():
        assert number_written(text) == number
    for text in ("007", "+1", "1e3", " 1", "1_000", "\u0661", "NaN", "1e999", "9" * 5000, "", "-"):
        assert number_written(text) is None


def test_values_are_compared_in_a_form_that_sqlite_can_hold():
    for value, expected in [
        (True, "true"),
        (2**63 - 1, 2**63 - 1),
        (2**63, 2.0**63),
        (10**400, 1.7976931348623157e308),
        ("x", "x"),
    ]:
        found = comparable(value)
        assert (type(found), found) == (type(expected), expected)
