"""Which headers go on."""

from __future__ import annotations

from reranker.http.headers import coming_back, going_up, value_of, without_upgrade

MESSAGE = (
    (b"authorization", b"ApiKey abc"),
    (b"accept", b"a"),
    (b"x-opaque-id", b"\xe9"),
    (b"accept", b"b"),
    (b"content-type", b"application/json"),
)
CONNECTION = (
    (b"host", b"proxy:9280"),
    (b"connection", b"keep-alive, X-Hop"),
    (b"x-hop", b"1"),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-authorization", b"Basic x"),
    (b"proxy-connection", b"keep-alive"),
    (b"te", b"trailers"),
    (b"trailer", b"x"),
    (b"transfer-encoding", b"chunked"),
    (b"upgrade", b"h2c"),
    (b"http2-settings", b"AAM"),
    (b"expect", b"100-continue"),
)


def test_headers_of_the_message_go_up_in_order_and_those_of_the_connection_do_not():
    assert going_up((*CONNECTION, *MESSAGE)) == MESSAGE


def test_headers_of_the_message_come_back_and_those_of_the_connection_do_not():
    of_requests = {b"host", b"expect", b"http2-settings"}
    connection = [pair for pair in CONNECTION if pair[0] not in of_requests]
    assert coming_back((*connection, *MESSAGE)) == MESSAGE


def test_named_headers_are_left_out():
    assert going_up(MESSAGE, frozenset({b"accept", b"authorization"})) == (MESSAGE[2], MESSAGE[4])


def test_connection_cannot_take_the_messages_own_headers_away():
    named = (b"connection", b"authorization, Content-Type, content-length")
    assert going_up((named, *MESSAGE, (b"content-length", b"2"))) == (
        *MESSAGE,
        (b"content-length", b"2"),
    )


def test_every_connection_header_counts():
    several = ((b"connection", b"close"), (b"connection", b"x-one"), (b"x-one", b"1"))
    assert going_up(several) == ()


def test_the_first_value_is_found_and_none_where_there_is_none():
    assert value_of(MESSAGE, b"accept") == b"a"
    assert value_of(MESSAGE, b"cookie") is None


def test_an_offer_of_another_protocol_is_taken_out():
    offer = ((b"connection", b"Upgrade, close"), (b"upgrade", b"h2c"), (b"a", b"b"))
    assert without_upgrade(offer) == ((b"connection", b" close"), (b"a", b"b"))
