"""`image.url`: nobody may have this machine open its own network, nor follow where it is sent."""

from __future__ import annotations

import asyncio
import socket

import pytest

from descriptors.images import ImageLimits
from indexer.web import WebAccess, fetch
from reranker.app import make_app
from tests.support.asgi import ask
from tests.support.house import first, ranked
from tests.support.wire import run

pytestmark = pytest.mark.slow


def asked(service, body):
    return run(ask(make_app(service), "POST", "/images/_search", body))


def fetching(*hosts):
    access = WebAccess(frozenset(hosts), seconds=3)
    return lambda url: fetch(url, access, ImageLimits())


@pytest.fixture
def listening():
    """A server on this machine that nobody may be made to ask: its socket, which none connects to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        yield listener


def nobody_came(listener):
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_by_default_nothing_is_fetched(house, listening):
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.jpg"
    with house.service() as service:
        for body in (first({"url": url}), ranked({"url": url})):
            answer = asked(service, body)
            assert answer.status == 400
            assert "[image.url] is not allowed by this server" in answer.reason
    assert nobody_came(listening)


def resolving(monkeypatch, *addresses):
    """Names lead to these addresses in turn, the last again and again; returns what was asked."""
    seen = []

    def getaddrinfo(host, port, *args, **options):
        address = addresses[min(len(seen), len(addresses) - 1)]
        seen.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return seen


# More of them, asked of `fetch` itself, are in tests/unit/indexer/test_web.py.
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_an_allowed_name_does_not_lead_into_our_network(house, monkeypatch, listening, address):
    resolving(monkeypatch, address)
    port = listening.getsockname()[1]
    with house.service(fetch=fetching(f"allowed.example:{port}")) as service:
        answer = asked(service, first({"url": f"http://allowed.example:{port}/a.jpg"}))
    assert answer.status == 400
    assert "is not a public address" in answer.reason
    assert nobody_came(listening)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/a.jpg", "http://2130706433/a.jpg", "file:///etc/passwd", " "),
        *("http://allowed.example@evil.example/", "http://allowed.example:22/"),
        *("http://allowed.example.evil.example/", "http://allowed.example\r\nHost: x/"),
    ],
)
def test_only_allowed_hosts_are_opened(house, monkeypatch, url):
    asked_for = resolving(monkeypatch, "93.184.216.34")
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, where: connected.append(where))
    with house.service(fetch=fetching("allowed.example")) as service:
        answer = asyncio.run(ask(make_app(service), "POST", "/images/_search", first({"url": url})))
    assert answer.status == 400, answer.body
    assert answer.reason
    assert (asked_for, connected) == ([], [])


def test_a_name_that_changes_its_mind_gains_nothing(house, monkeypatch, listening):
    """It resolves to a public address when it is checked, and to ours ever after."""
    seen = resolving(monkeypatch, "93.184.216.34", "127.0.0.1")
    went_to = []

    def create_connection(address, *args, **options):
        went_to.append(address)
        raise OSError("no way out of the tests")

    monkeypatch.setattr("urllib3.util.connection.create_connection", create_connection)
    port = listening.getsockname()[1]
    with house.service(fetch=fetching(f"allowed.example:{port}")) as service:
        answer = asked(service, first({"url": f"http://allowed.example:{port}/a.jpg"}))
    assert (answer.status, seen) == (400, ["allowed.example"])
    assert went_to == [("93.184.216.34", port)]
    assert nobody_came(listening)


def test_a_redirect_is_not_followed(house, listening):
    target = f"http://127.0.0.1:{listening.getsockname()[1]}/secret"

    async def redirect(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % target.encode()
        )
        await writer.drain()
        writer.close()

    async def test():
        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = frozenset([f"127.0.0.1:{port}", "127.0.0.1"])
        access = WebAccess(hosts, seconds=3, private_addresses=True)
        with house.service(fetch=lambda url: fetch(url, access, ImageLimits())) as service:
            body = first({"url": f"http://127.0.0.1:{port}/a.jpg"})
            answer = await ask(make_app(service), "POST", "/images/_search", body)
        server.close()
        return answer

    answer = run(test())
    assert answer.status == 400
    assert "redirects are not followed" in answer.reason
    assert nobody_came(listening)
