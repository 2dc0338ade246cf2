"""Errors, warnings and times in Elasticsearch's words."""

import re

import pytest

from reranker.dialect.parameters import parameters_of, seconds_of, without
from reranker.dialect.wording import warning

# How Elasticsearch's own Java client reads a warning, and how the Python client does.
JAVA = re.compile(
    rb"299 Elasticsearch-\d+\.\d+\.\d+-(?:[a-f0-9]{7}(?:[a-f0-9]{33})?|unknown) "
    rb'"((?:\t| |!|[\x23-\x5B]|[\x5D-\x7E])*)"'
)
PYTHON = re.compile(r"\"([^\"]*)\"")


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
        ("10s", 10),
        ("500ms", 0.5),
        ("2micros", 2e-6),
        ("3NANOS", 3e-9),
        (" 1m ", 60),
        ("1h", 3600),
        ("1d", 86400),
        ("-1", None),
        ("0", None),
        ("1.5s", None),
        ("s", None),
        (5, None),
        (None, None),
    ],
)
def test_times(written, seconds):
    assert seconds_of(written) == pytest.approx(seconds)


def test_parameters_are_read_as_elasticsearch_reads_them():
    assert parameters_of("a=1&b=x+y%2B;c&&a=2&d=e=f") == {
        "a": "2",
        "b": "x y+",
        "c": "",
        "d": "e=f",
    }
    assert without("a=1&%61=2&b=%2f;c", {"a"}) == "b=%2f&c"
