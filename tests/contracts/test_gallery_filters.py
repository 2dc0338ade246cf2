"""Which documents a filter finds, in every gallery."""

from __future__ import annotations

from contextlib import suppress

import pytest

from descriptors.errors import RequestError
from galleries.documents import ImageClass
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
from tests.support.documents import document, ids_of, unit

ALL = ["eiffel", "louvre", "plain", "trevi"]


@pytest.fixture(scope="module")
def images(new_gallery):
    """Four images that no test changes."""
    gallery = new_gallery(4)
    gallery.put(
        [
            document(
                "eiffel",
                width=1600,
                height=1200,
                digest="1" * 64,
                revision=3,
                indexed_at="2024-03-01T00:00:00+00:00",
                classes=(ImageClass("steel arch bridge", 0.6), ImageClass("pole", 0.1)),
                meta={"city": "Paris", "year": 1889, "height": 330.5, "open": True}
                | {"tags": ["iron", "tower"], "by": {"name": "Eiffel", "born": {"year": 1832}}},
            ),
            document(
                "louvre",
                width=800,
                height=600,
                indexed_at="2024-05-01T00:00:00+00:00",
                classes=(ImageClass("palace", 0.9),),
                meta={
                    "city": "Paris",
                    "year": 1793,
                    "open": False,
                    "tags": ["museum"],
                    "note": None,
                }
                | {"by": [{"name": "Lescot"}, {"name": "Pei"}], "rooms": [10, 200, 3000]},
            ),
            document(
                "trevi",
                width=800,
                height=1000,
                indexed_at="2024-07-01T00:00:00+00:00",
                meta={"city": "Rome", "year": 1762, "tags": [], "note": "", "code": "007"},
            ),
            document("plain", width=640, height=480, indexed_at="", meta={}),
        ]
    )
    return gallery


FOUND = [
    (Everything(), ALL),
    # one value
    (Term("meta.city", "Paris"), ["eiffel", "louvre"]),
    (Term("meta.city", "paris"), []),
    (Term("meta.note", ""), ["trevi"]),
    (Term("meta.nothing", "x"), []),
    (Term("width", 800), ["louvre", "trevi"]),
    (Term("digest", "1" * 64), ["eiffel"]),
    (Term("revision", 3), ["eiffel"]),
    (Term("_id", "plain"), ["plain"]),
    # numbers, texts and booleans
    (Term("meta.year", 1889), ["eiffel"]),
    (Term("meta.year", "1889"), ["eiffel"]),
    (Term("meta.height", 330.5), ["eiffel"]),
    (Term("meta.code", "007"), ["trevi"]),
    (Term("meta.code", 7), []),
    (Term("meta.open", True), ["eiffel"]),
    (Term("meta.open", "true"), ["eiffel"]),
    # lists and what is below
    (Term("meta.tags", "tower"), ["eiffel"]),
    (Term("meta.rooms", 200), ["louvre"]),
    (Term("meta.by.name", "Pei"), ["louvre"]),
    (Term("meta.by.born.year", 1832), ["eiffel"]),
    (Term("classes", "pole"), ["eiffel"]),
    (Term("classes.name", "palace"), ["louvre"]),
    # one of several
    (Terms("meta.city", ("Rome", "Oslo")), ["trevi"]),
    (Terms("meta.tags", ("museum", "iron")), ["eiffel", "louvre"]),
    (Terms("meta.year", (1762, "1793", 2.5)), ["louvre", "trevi"]),
    (Terms("meta.city", ()), []),
    (Ids(("trevi", "nobody", "plain")), ["plain", "trevi"]),
    # bounds
    (Range("meta.year", {"gte": 1793}), ["eiffel", "louvre"]),
    (Range("meta.year", {"gt": 1793}), ["eiffel"]),
    (Range("meta.year", {"lte": 1793, "gt": 1762.5}), ["louvre"]),
    (Range("meta.year", {"gte": "1793"}), ["eiffel", "louvre"]),
    (Range("meta.city", {"gte": "Q"}), ["trevi"]),
    (Range("width", {"gt": 640, "lt": 1600}), ["louvre", "trevi"]),
    (Range("meta.rooms", {"gt": 100, "lt": 300}), ["louvre"]),
    (Range("meta.rooms", {"gt": 300, "lt": 2000}), []),
    (Range("indexed_at", {"gte": "2024-04-01", "lt": "2024-06-01"}), ["louvre"]),
    # there or not
    (Exists("meta.city"), ["eiffel", "louvre", "trevi"]),
    (Exists("meta.note"), ["trevi"]),
    (Exists("meta.tags"), ["eiffel", "louvre"]),
    (Exists("meta.by.born"), ["eiffel"]),
    (Exists("meta.b"), []),
    (Exists("classes"), ["eiffel", "louvre"]),
    (Exists("indexed_at"), ["eiffel", "louvre", "trevi"]),
    # together
    (Not(Term("meta.city", "Paris")), ["plain", "trevi"]),
    (Not(Exists("indexed_at")), ["plain"]),
    (Not(Range("indexed_at", {"lt": "2024-06-01"})), ["plain", "trevi"]),
    (Not(Not(Ids(("plain",)))), ["plain"]),
    (And((Term("meta.city", "Paris"), Range("meta.year", {"lt": 1800}))), ["louvre"]),
    (And(()), ALL),
    (Or((Term("meta.city", "Rome"), Term("classes", "pole"))), ["eiffel", "trevi"]),
    (Or(()), []),
    (Or((Term("meta.city", "Rome"),), least=0), ALL),
    (Or((Term("meta.city", "Rome"),), least=2), []),
    (
        Or((Term("meta.city", "Paris"), Not(Exists("meta.rooms")), Term("width", 800)), least=2),
        ["eiffel", "louvre", "trevi"],
    ),
    (
        Or((Term("meta.city", "Paris"), Exists("meta.rooms"), Term("width", 800)), least=3),
        ["louvre"],
    ),
]


def test_a_filter_finds_what_it_says(images):
    found = {str(matching): ids_of(images.documents(matching)) for matching, _ in FOUND}
    assert found == {str(matching): expected for matching, expected in FOUND}


def test_searches_and_counts_are_filtered_as_listings(images):
    for matching, expected in FOUND[::7]:
        assert images.count(matching) == len(expected)
        assert [hit.id for hit in images.knn(unit([1, 2, 3, 4]), 9, matching)] == expected


def test_a_value_that_is_none_of_the_fields_type_finds_nothing_or_is_refused(images):
    for matching in (Term("meta.year", True), Term("meta.year", "x"), Term("width", "wide")):
        with suppress(RequestError):  # Elasticsearch does
            assert images.count(matching) == 0


def test_a_list_may_be_long(images):
    # SQLite takes 32,766 parameters, Elasticsearch 65,536 terms.
    many = tuple(f"town {i}" for i in range(33_000))
    assert images.count(Terms("meta.city", (*many, "Rome"))) == 1
    assert images.count(Ids((*many, "trevi"))) == 1


def test_a_clients_filter_finds_what_it_says(images):
    body = {
        "bool": {
            "must": {"exists": {"field": "meta.city"}},
            "filter": [{"range": {"meta.year": {"gte": 1700, "lt": 1850}}}],
            "should": [
                {"term": {"meta.city": "Rome"}},
                {"term": {"meta.tags": {"value": "museum"}}},
            ],
            "must_not": [{"ids": {"values": ["trevi"]}}],
            "minimum_should_match": 1,
        }
    }
    assert ids_of(images.documents(parse_filter(body))) == ["louvre"]


def test_a_field_that_no_document_can_have_is_refused(images):
    for field in ("meta", "meta.", "metacity", "name", "", "descriptor", "width.x", "meta.\ud800"):
        for asked in (Term(field, 1), Terms(field, (1,)), Exists(field), Range(field, {"gt": 1})):
            with pytest.raises(RequestError, match=r"There is no field .* use one of id, .*meta"):
                images.count(asked)


def test_a_field_of_any_name_can_be_filtered_by(gallery):
    names = ["x' OR 1=1 --", 'a"b', "$[0]", "%", "é ü", "a\\b", "[*]"]
    gallery.put([document(name, meta={name: "here"}) for name in names])
    for name in names:
        assert ids_of(gallery.documents(Term(f"meta.{name}", "here"))) == [name]
        assert gallery.count(Exists(f"meta.{name}")) == 1


def test_a_value_is_never_more_than_a_value(gallery):
    values = ["x' OR 1=1 --", 'a"b', "[1, 2]", "null", "%", "a\\u0041", "\n", "é", "aA"]
    gallery.put([document(f"{n}", meta={"value": value}) for n, value in enumerate(values)])
    for n, value in enumerate(values):
        bounds = {"gte": value, "lte": value}
        for asked in (
            Term("meta.value", value),
            Terms("meta.value", (value, "other")),
            Range("meta.value", bounds),
        ):
            assert ids_of(gallery.documents(asked)) == [f"{n}"]
