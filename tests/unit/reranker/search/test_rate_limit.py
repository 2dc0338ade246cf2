"""How often one caller may ask."""

from __future__ import annotations

import pytest
from limits.storage import MemoryStorage

from descriptors.errors import SettingsError
from reranker.errors import Overloaded
from reranker.http.exchange import Request
from reranker.search.admission import RateLimit


def by(right=None, peer="10.0.0.1"):
    headers = () if right is None else ((b"authorization", right),)
    return Request("POST", "/_search", headers=headers, peer=peer)


def taken(limit, request, times):
    through = 0
    for _ in range(times):
        try:
            limit.take(request)
        except Overloaded:
            continue
        through += 1
    return through


def test_without_a_rate_nothing_is_limited():
    assert taken(RateLimit(""), by(), 100) == 100


def test_requests_beyond_the_rate_are_told_when_to_come_back():
    limit = RateLimit("3/hour")
    assert taken(limit, by(), 5) == 3
    with pytest.raises(Overloaded, match="3 per 1 hour") as refused:
        limit.take(by())
    assert 3500 < refused.value.retry_after <= 3600


def test_callers_are_told_apart_by_their_rights_then_by_their_address():
    limit = RateLimit("1/hour")
    callers = [by(), by(peer="10.0.0.2"), by(b"ApiKey a"), by(b"ApiKey b")]
    assert [taken(limit, one, 2) for one in callers] == [1, 1, 1, 1]
    assert taken(limit, by(b"ApiKey a", peer="10.0.0.9"), 2) == 0


def test_an_address_cannot_pass_for_a_right():
    limit = RateLimit("1/hour")
    assert taken(limit, by(peer="x"), 1) == 1
    assert taken(limit, by(b"x"), 1) == 1


def test_nothing_secret_is_kept():
    storage = MemoryStorage()
    RateLimit("1/hour", storage).take(by(b"ApiKey c2VjcmV0"))
    assert storage.events
    assert "c2VjcmV0" not in repr(vars(storage))


def test_callers_who_have_gone_are_forgotten():
    storage = MemoryStorage()
    limit = RateLimit("1/hour", storage)
    storage.events.update({str(number): [] for number in range(10_001)})
    limit.take(by())
    assert len(storage.events) == 1


@pytest.mark.parametrize("rate", ["often", "0/second", "5", "1/second;9/hour", "-1/second"])
def test_an_invalid_rate_is_refused(rate):
    with pytest.raises(SettingsError, match="CAMSEARCH_SERVE_RATE"):
        RateLimit(rate)
