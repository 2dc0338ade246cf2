"""Patterns and expressions for indices, and values of single fields."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from es_mappings.documents import PictureClass
from reranker.local_elasticsearch.fields_view import FieldsView
from reranker.local_elasticsearch.index_names import matches, means
from reranker.local_elasticsearch.json_values import json_object
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.refusals import Refused
from tests.support.documents import document


@given(st.text("ab*", max_size=9), st.text("ab", max_size=9))
@example("a*a", "a")
@example("*", "")
@example("*a*a*", "a")
def test_a_star_stands_for_any_text(pattern, text):
    said = ".*".join(map(re.escape, pattern.split("*")))
    assert matches(pattern, text) == bool(re.fullmatch(said, text))


def test_a_pattern_costs_no_more_than_the_text_is_long():
    assert not matches("*a" * 5_000 + "*b", "a" * 20_000)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("images", True),
        ("_all", True),
        ("*", True),
        ("im*", True),
        ("x*", False),
        ("x*,images", True),
        ("*,-images", False),
        ("*,-x*", True),
        ("images,-im*", False),
    ],
)
def test_an_expression_means_the_index_or_nothing(expression, found):
    assert means(expression, "images") is found


def test_a_name_that_is_not_there_is_an_error_unless_it_may_be_missing():
    with pytest.raises(Refused, match=r"no such index \[other\]") as caught:
        means("images,other", "images")
    assert caught.value.status == 404
    assert means("images,other", "images", lenient=True)
    assert not means("other", "images", lenient=True)


def test_a_parameter_is_taken_once_and_the_last_of_two_counts():
    parameters = Parameters("size=1&size=2&pretty")
    assert (parameters.text("size"), parameters.text("size")) == ("2", None)
    assert parameters.pretty
    parameters.nothing_else()


@pytest.mark.parametrize("query", ["rest_total_hits_as_int=true", "x="])
def test_a_parameter_that_nobody_takes_is_refused(query):
    parameters = Parameters(query)
    with pytest.raises(Refused, match=rf"\[{query.split('=')[0]}\]") as caught:
        parameters.nothing_else()
    assert caught.value.status == 501


def test_a_flag_is_yes_or_no():
    assert Parameters("x").flag("x", default=False)
    assert not Parameters("x=false").flag("x", default=True)
    assert Parameters("").flag("x", default=True)
    with pytest.raises(Refused, match=r"\[maybe\]"):
        Parameters("x=maybe").flag("x", default=True)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"x"', b"1", b"\xff", b'{"a": NaN}'])
def test_a_body_is_an_object(body):
    with pytest.raises(Refused) as caught:
        json_object(body)
    assert caught.value.status == 400


def test_values_of_a_field_keep_their_order_and_depth_is_no_limit():
    deep: dict[str, object] = {"end": 1}
    for _ in range(2_000):
        deep = {"x": deep}
    one = document(
        "a",
        meta={"list": [3, [1, {"y": 5}], 2], "deep": deep},
        classes=(PictureClass("tower", 0.1),),
        indexed_at="2024-05-06T09:08:09.5+02:00",
    )
    found = FieldsView(("*",)).of(one, "images")
    assert found["meta.list"] == [3.0, 1.0, 2.0]
    assert found["meta.list.y"] == [5.0]
    assert isinstance(found["meta.list.y"][0], float)
    assert found["meta.deep" + ".x" * 2_000 + ".end"] == [1.0]
    assert str(found["classes.score"][0]) == "0.1"
    assert found["indexed_at"] == ["2024-05-06T07:08:09.500Z"]


def test_a_refusal_survives_pickling():
    import pickle

    refused = Refused("No.", 404, {"type": "x"}, ((b"a", b"b"),))
    again = pickle.loads(pickle.dumps(refused))  # noqa: S301
    assert (again.status, again.error, again.headers) == (404, {"type": "x"}, ((b"a", b"b"),))
