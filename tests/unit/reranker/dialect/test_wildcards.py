"""Patterns with stars."""

import pytest

from reranker.dialect.wildcards import fits


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", ""),
        ("a", "a"),
        ("*", ""),
        ("*", "abc"),
        ("a*", "a"),
        ("*c", "abc"),
        ("a*c", "abc"),
        ("a*b*c", "axbxbc"),
        ("**", "a"),
        ("a*a", "aa"),
        ("[a]*", "[a]b"),
    ],
)
def test_what_fits(pattern, name):
    assert fits(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", "a"),
        ("a", "ab"),
        ("a*", "ba"),
        ("*a", "ab"),
        ("a*a", "a"),
        ("a*x*a", "aba"),
        ("ab*bc", "abc"),
        ("a*b*b", "ab"),
        ("a.c", "abc"),
    ],
)
def test_what_does_not_fit(pattern, name):
    assert not fits(pattern, name)
