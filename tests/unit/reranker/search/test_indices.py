"""Whether an index fits the method."""

from __future__ import annotations

import asyncio

import pytest

from galleries.errors import FingerprintMismatch
from reranker.errors import NotOurIndex, UpstreamRefused
from reranker.http.error_answers import refusal
from reranker.http.exchange import Request
from reranker.search.indices import Indices, abouts_of
from tests.support.house import Scripted, said

OURS, THEIRS = "a" * 64, "b" * 64
HEADERS = ((b"authorization", b"ApiKey x"), (b"x-opaque-id", b"7"))
ASKED = Request("POST", "/images/_search", "size=3&routing=x", HEADERS, b'{"x": 1}')


def mapping(**indices):
    return said(
        {
            name: {
                "mappings": {"properties": {}}
                if fingerprint is None
                else {"_meta": {"camsearch": {"fingerprint": fingerprint}}}
            }
            for name, fingerprint in indices.items()
        }
    )


def check(upstream, index="images", request=ASKED, indices=None):
    indices = indices or Indices(upstream.ask, OURS)
    asyncio.run(indices.check(request, index))
    return indices


@pytest.mark.parametrize(
    ("index", "path"),
    [("images", "/images/_mapping"), ("", "/_mapping"), ("a,b*", "/a,b*/_mapping")],
)
def test_the_mapping_is_asked_for_with_the_callers_rights(index, path):
    upstream = Scripted(turn=lambda _: mapping(images=OURS))
    check(upstream, index)
    assert upstream.asked == [Request("GET", path, "", HEADERS, b"")]


def test_what_the_query_string_says_of_indices_holds_for_the_mapping_too():
    upstream = Scripted(turn=lambda _: mapping(images=OURS))
    told = "size=3&ignore_unavailable=true&expand_wildcards=open"
    request = Request("POST", "/a,b/_search", told, HEADERS)
    indices = check(upstream, "a,b", request)
    assert upstream.asked[0].query == "ignore_unavailable=true&expand_wildcards=open"
    check(upstream, "a,b", Request("POST", "/a,b/_search", "", HEADERS), indices)
    assert len(upstream.asked) == 2


def test_a_fitting_index_is_believed_for_ten_seconds():
    upstream, now = Scripted(turn=lambda _: mapping(images=OURS)), 100.0
    indices = Indices(upstream.ask, OURS, lambda: now)
    for now, asked in [(100.0, 1), (105, 1), (109.9, 1), (110.1, 2), (115, 2), (121, 3)]:
        check(upstream, indices=indices)
        assert len(upstream.asked) == asked, now


def test_a_check_for_one_caller_says_nothing_of_another():
    upstream = Scripted(turn=lambda _: mapping(images=OURS))
    indices = Indices(upstream.ask, OURS, lambda: 100.0)

    async def run():
        for caller in ("", "a", "a", "b", "a", ""):
            await indices.check(ASKED, "images", caller)

    asyncio.run(run())
    assert len(upstream.asked) == 3


def test_names_made_up_by_callers_do_not_fill_the_memory():
    upstream = Scripted(turn=lambda _: mapping(images=OURS))
    indices = Indices(upstream.ask, OURS)

    async def run():
        for index in ["images", *map(str, range(1000)), "images"]:
            await indices.check(ASKED, index)

    asyncio.run(run())
    assert [one.path for one in upstream.asked].count("/images/_mapping") == 2


def test_an_index_of_another_method_is_refused_and_both_are_named():
    upstream = Scripted(turn=lambda _: mapping(old=THEIRS))
    indices = Indices(upstream.ask, OURS)
    for asked in (1, 2):  # what does not fit is asked for again: it may be switched any moment
        with pytest.raises(FingerprintMismatch) as error:
            check(upstream, indices=indices)
        assert len(upstream.asked) == asked
    for part in ("[old]", THEIRS[:16], OURS[:16]):
        assert part in error.value.reason


def test_one_of_several_that_does_not_fit_is_enough():
    upstream = Scripted(turn=lambda _: mapping(new=OURS, old=THEIRS, other=None))
    with pytest.raises(FingerprintMismatch, match=r"\[old\]"):
        check(upstream, "all")


def test_others_beside_ours_do_not_matter():
    upstream = Scripted(turn=lambda _: mapping(books=None, new=OURS, newer=OURS))
    check(upstream, "all")


@pytest.mark.parametrize(("index", "named"), [("books", "[books]"), ("", "[_all]")])
@pytest.mark.parametrize("answer", [mapping(books=None), mapping()], ids=["others", "none"])
def test_an_index_without_our_method_is_refused(index, named, answer):
    with pytest.raises(NotOurIndex) as error:
        check(Scripted(turn=lambda _: answer), index)
    assert named in error.value.reason
    assert refusal(error.value).status == 400


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_what_elasticsearch_refuses_passes_as_it_came(status):
    answer = said({"error": {"reason": "no"}, "status": status}, status, (b"www", b"x"))
    with pytest.raises(UpstreamRefused) as error:
        check(Scripted(turn=lambda _: answer))
    assert refusal(error.value) is answer


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"camsearch": None},
        {"camsearch": "x"},
        {"camsearch": {}},
        {"camsearch": {"fingerprint": 3}},
    ],
)
def test_odd_mappings_are_not_ours(meta):
    assert abouts_of({"i": {"mappings": {"_meta": meta}}}) == {}
    assert abouts_of({"i": {}}) == {}
