"""Patterns, query strings and times read; warnings and JSON written."""

import re

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reranker.dialect.values import (
    fits,
    parameters_of,
    seconds_of,
    warning,
    without,
    written_json,
)

# How Elasticsearch's own Java client reads a warning, and how the Python client does.
JAVA = re.compile(
    rb"299 Elasticsearch-\d+\.\d+\.\d+-(?:[a-f0-9]{7}(?:[a-f0-9]{33})?|unknown) "
    rb'"((?:\t| |!|[\x23-\x5B]|[\x5D-\x7E])*)"'
)
PYTHON = re.compile(r"\"([^\"]*)\"")


@given(st.text("ab*", max_size=9), st.text("ab", max_size=9))
@example("a*a", "a")
@example("*a*a*", "a")
@example("", "")
def test_a_star_stands_for_any_text(pattern, text):
    assert fits(pattern, text) == bool(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text)
    )


def test_a_pattern_costs_no_more_than_the_text_is_long():
    assert not fits("*a" * 5_000 + "*b", "a" * 20_000)


def test_json_holds_integers_of_any_size_and_any_depth():
    deep = 2**70
    for _ in range(400):
        deep = [deep]
    assert written_json({"a": deep}).count(b"[") == 400
    assert orjson.loads(written_json({"a": 1}, pretty=True)) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Two of 3 hits: late.", "Two of 3 hits: late."),
        ('a "b" \\ c', "a 'b' / c"),
        ("a\r\nX-Evil: 1\x00", "a X-Evil: 1%00"),
        ("50 % é", "50 %25 %C3%A9"),
        ("\ud800", "?"),
    ],
)
def test_a_warning_is_one_line_that_clients_can_read(text, written):
    value = warning(text, "9.5.3", "367ec31")
    assert value == b'299 Elasticsearch-9.5.3-367ec31 "%b"' % written.encode()
    assert JAVA.fullmatch(value)
    assert PYTHON.findall(value.decode()) == [written]


def test_a_warning_is_not_long():
    assert len(warning("é" * 100_000)) < 8000
    assert JAVA.fullmatch(warning(""))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("3NANOS", 3e-9),
        (" 1m ", 60),
        ("1d", 86400),
        ("-1", None),
        ("0", None),
        ("1.5s", None),
        (5, None),
    ],
)
def test_times(written, seconds):
    assert seconds_of(written) == pytest.approx(seconds)


def test_parameters_are_read_as_elasticsearch_reads_them():
    read = parameters_of("a=1&b=x+y%2B;c&&a=2&d=e=f")
    assert read == {"a": "2", "b": "x y+", "c": "", "d": "e=f"}
    assert without("a=1&%61=2&b=%2f;c", {"a"}) == "b=%2f&c"
