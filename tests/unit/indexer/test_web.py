"""What is fetched from the web and what is refused: real servers on this machine, no network."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import urllib3.util.connection

from descriptors.errors import ImageTooLarge, SettingsError
from descriptors.images import ImageLimits
from indexer.addresses import read_source, source_tag
from indexer.errors import SourceUnreachable, SourceUnreadable
from indexer.web import WebAccess, fetch
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answer = Callable[[Any], None]

LIMITS = ImageLimits(max_bytes=100_000)
REAL_RESOLVER = socket.getaddrinfo
NAME = "images.test"
PUBLIC = "93.184.215.14"
HEAD = b"HTTP/1.1 200 OK\r\n"


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `answer` says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        self.server.answer(self)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """On 127.0.0.1, or where it is said."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str = "127.0.0.1", family: int = socket.AF_INET) -> None:
        self.address_family = family
        super().__init__((host, 0), Handler)
        self.port = self.server_address[1]
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Answer = says()
        self.is_over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client went away, which is what most of these tests are about."""

    def uri(self, path: str = "/a.jpg", scheme: str = "http", name: str = NAME) -> str:
        return f"{scheme}://{name}:{self.port}{path}"


def says(status: int = 200, body: bytes = b"12345", **headers: object) -> Answer:
    """A usual answer; names of headers with _ for -."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def sends(*parts: bytes, pause: float = 0.0, then_waits: bool = False) -> Answer:
    """Raw bytes, part by part, with pauses between."""

    def answer(handler: Any) -> None:
        for part in parts:
            handler.wfile.write(part)
            if handler.server.is_over.wait(pause):
                return
        if then_waits:
            handler.server.is_over.wait(HANG_S)

    return answer


@contextmanager
def running(server: Server) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as server:
        yield server


class Resolver:
    """Names to numbers, and which names were asked for; numbers go to the real one."""

    def __init__(self) -> None:
        self.names: dict[str, list[str] | Exception] = {NAME: ["127.0.0.1"]}
        self.asked: list[str] = []

    def __call__(self, host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host.replace(".", "").isdigit() or ":" in host:
            return REAL_RESOLVER(host, port, *args, **kwargs)
        self.asked.append(host)
        numbers = self.names.get(host, [])
        if isinstance(numbers, Exception):
            raise numbers
        if not numbers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for n in numbers for entry in REAL_RESOLVER(n, port, *args, **kwargs)]


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where connections would go; none is made."""
    places: list[tuple[str, int]] = []

    def connect(place: tuple[str, int], *args: Any, **kwargs: Any) -> None:
        places.append(place)
        raise ConnectionRefusedError("not in this test")

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    return places


def access(server: Server, name: str = NAME, **kwargs: Any) -> WebAccess:
    return WebAccess(frozenset([f"{name}:{server.port}"]), private_addresses=True, **kwargs)


class TestFetching:
    def test_the_bytes_of_an_allowed_host(self, server: Server) -> None:
        body = bytes(range(256)) * 300
        server.answer = says(body=body)
        assert fetch(server.uri(), access(server), LIMITS) == body
        assert read_source(server.uri(), LIMITS, access(server)) == body

    def test_what_the_server_is_told(self, server: Server) -> None:
        fetch(server.uri("/in/ü b.jpg?size=%20l#part"), access(server), LIMITS)
        ((path, headers),) = server.asked
        assert path == "/in/%C3%BC%20b.jpg?size=%20l"
        assert headers == {
            "Host": f"{NAME}:{server.port}",
            "User-Agent": f"camsearch/{version('camsearch')}",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    def test_chunks_and_bodies_that_end_with_the_connection(self, server: Server) -> None:
        server.answer = sends(
            HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\n123\r\n", b"2\r\n45\r\n0\r\n\r\n"
        )
        assert fetch(server.uri(), access(server), LIMITS) == b"12345"
        server.answer = sends(HEAD + b"\r\n", b"123", b"45")
        assert fetch(server.uri(), access(server), LIMITS) == b"12345"

    def test_proxies_of_the_environment_are_not_used(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert fetch(server.uri(), access(server), LIMITS) == b"12345"

    def test_a_numeric_host_of_ipv6(self) -> None:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
        with running(Server("::1", socket.AF_INET6)) as server:
            uri = server.uri(name="[::1]")
            assert fetch(uri, access(server, "[::1]"), LIMITS) == b"12345"
            assert server.asked[0][1]["Host"] == f"[::1]:{server.port}"


def no_thread_is_left() -> bool:
    """Downloads run in threads named web; one that was cut off ends soon."""
    end = time.monotonic() + HANG_S
    while any(thread.name == "web" for thread in threading.enumerate()):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class TestHosts:
    def test_allowed(self, connected: list[tuple[str, int]], resolver: Resolver) -> None:
        names = ("example.org", "a.example.org", "a.b.example.org", "xn--bcher-kva.example")
        resolver.names |= {name: [PUBLIC] for name in names}
        for entry, uri in (
            (" Example.ORG ", "http://example.org/a.jpg"),
            ("example.org", "HTTPS://EXAMPLE.ORG:443/a.jpg"),
            ("example.org:443", "https://example.org/a.jpg"),
            ("example.org:8080", "http://example.org:8080/a.jpg"),
            ("example.org:80", "https://example.org:80/a.jpg"),
            ("*.example.org", "https://a.b.example.org/a.jpg"),
            ("*.example.org:8443", "https://a.example.org:8443/a.jpg"),
            ("bücher.example", "https://BÜCHER.example/a.jpg"),
            ("bücher.example", "https://xn--bcher-kva.example/a.jpg"),
            ("[fd00::1]:8080", "http://[FD00::1]:8080/a.jpg"),
            ("example.org", "http://example.org\\@evil.test/a.jpg"),  # as browsers read it
        ):
            places = WebAccess(frozenset(["other.test", entry]), private_addresses=True)
            with pytest.raises(SourceUnreachable, match="not in this test"):
                fetch(uri, places, LIMITS)
        assert len(connected) == 11

    def test_not_allowed(self, connected: list[tuple[str, int]], resolver: Resolver) -> None:
        for entry, uri in (
            ("example.org", "http://a.example.org/a.jpg"),
            ("example.org", "http://example.org.evil.test/a.jpg"),
            ("example.org", "http://evilexample.org/a.jpg"),
            ("example.org", "http://example.org./a.jpg"),
            ("example.org", "http://example.org:443/a.jpg"),
            ("example.org:8080", "http://example.org/a.jpg"),
            ("*.example.org", "http://example.org/a.jpg"),
            ("*.example.org", "http://evilexample.org/a.jpg"),
            ("*.example.org", "http://a.example.org:8080/a.jpg"),
            ("example.org", "http://evil.test#example.org"),
            ("example.org", "http://evil.test?example.org"),
            ("example.org", "http://evil.test\\example.org/a.jpg"),
            ("127.0.0.1", "http://2130706433/a.jpg"),
        ):
            with pytest.raises(SourceUnreadable) as caught:
                fetch(uri, WebAccess(frozenset([entry]), private_addresses=True), LIMITS)
            assert type(caught.value) is SourceUnreadable
        assert not resolver.asked
        assert not connected

    def test_by_default_none_and_the_sentence_says_how(self, resolver: Resolver) -> None:
        for call in (lambda u: fetch(u, WebAccess(), LIMITS), lambda u: read_source(u, LIMITS)):
            with pytest.raises(
                SourceUnreadable,
                match=r"its host is not allowed.*Download the image first.*"
                r"--web-hosts images\.test:8080.*CAMSEARCH_WEB_HOSTS",
            ):
                call("http://images.test:8080/a.jpg")
        assert resolver.asked == []

    def test_what_is_no_address_of_the_web(self, resolver: Resolver) -> None:
        for uri in (
            *("ftp://example.org/a.jpg", "example.org/a.jpg", "http:///a.jpg", "https:a", ""),
            *("http://[::1/a.jpg", "http://example.org:99999/", "http://exa mple.org/"),
            *("http://exa\0mple.org/", "http://a\r\nHost: b/", "http://:80/"),
        ):
            with pytest.raises(SourceUnreadable, match="correct it"):
                fetch(uri, WebAccess(frozenset(["example.org"])), LIMITS)
        assert resolver.asked == []

    def test_users_and_passwords_are_refused_and_not_repeated(self, resolver: Resolver) -> None:
        for who in ("user:secret", "secret", "user:secret@b"):
            with pytest.raises(SourceUnreadable, match="user or password") as caught:
                fetch(f"https://{who}@example.org/", WebAccess(frozenset(["example.org"])), LIMITS)
            assert "secret" not in caught.value.reason
        assert resolver.asked == []

    def test_an_entry_that_is_no_host_and_a_time_that_is_none_are_refused(self) -> None:
        for entry in (
            *("", "*", "*.", "a*.example.org", "*.*.org", "https://example.org", "a.org/b"),
            *("user@example.org", "a.org:99999", "a.org?b", "a.org,b.org", "::1", "a..org", ".org"),
        ):
            with pytest.raises(SettingsError, match="is not a valid host: write"):
                WebAccess(frozenset([entry]))
        for seconds in (0.0, -1.0, float("nan")):
            with pytest.raises(SettingsError, match="positive"):
                WebAccess(seconds=seconds)


CLOSED = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1"),  # noqa: S104
    *("172.31.255.255", "192.168.1.1", "169.254.0.1", "169.254.169.254", "100.64.0.1"),
    *("100.127.255.255", "100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.0.192"),
    *("192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("100::1", "2001:db8::1", "2001::1", "2001:10::1", "3fff::1", "5f00::1", "64:ff9b:1::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1"),
    *("::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"),
    *("2002:7f00:1::1", "2002:a00:1::", "2002:a9fe:a9fe::1", "2002:6440:1::", "2002:c0a8:101::"),
]
OPEN = [
    *(PUBLIC, "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
    *("169.253.0.1", "168.63.129.17", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"),
    *("::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"),
]
SECRETS = [
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"),
    *("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1"),
]


class TestNumbers:
    def test_closed(self, resolver: Resolver, connected: list[tuple[str, int]]) -> None:
        for number in CLOSED:
            resolver.names[NAME] = [number]
            with pytest.raises(SourceUnreadable, match="not a public address") as caught:
                fetch(f"http://{NAME}/a.jpg", WebAccess(frozenset([NAME])), LIMITS)
            assert type(caught.value) is SourceUnreadable
        for number in ("127.0.0.1", "[fd00::1]"):
            with pytest.raises(SourceUnreadable, match="not a public address"):
                fetch(f"http://{number}/", WebAccess(frozenset([number])), LIMITS)
        assert connected == []

    def test_open(self, resolver: Resolver, connected: list[tuple[str, int]]) -> None:
        for number in OPEN:
            resolver.names[NAME] = [number]
            with pytest.raises(SourceUnreachable, match="not in this test"):
                fetch(f"http://{NAME}/a.jpg", WebAccess(frozenset([NAME])), LIMITS)
        assert connected == [(number, 80) for number in OPEN]

    def test_one_closed_number_among_others_closes_the_name(
        self, resolver: Resolver, connected: list[tuple[str, int]]
    ) -> None:
        for numbers in ([PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC]):
            resolver.names[NAME] = numbers
            with pytest.raises(SourceUnreadable, match=r"10\.0\.0\.1 is not a public address"):
                fetch(f"http://{NAME}/", WebAccess(frozenset([NAME])), LIMITS)
        assert connected == []

    def test_an_intranet_may_open_its_own_but_never_where_clouds_keep_their_secrets(
        self, resolver: Resolver, connected: list[tuple[str, int]]
    ) -> None:
        places = WebAccess(frozenset([NAME]), private_addresses=True)
        for number in sorted(set(CLOSED) - set(SECRETS)):
            resolver.names[NAME] = [number]
            with pytest.raises(SourceUnreachable, match="not in this test"):
                fetch(f"http://{NAME}/", places, LIMITS)
        opened = len(connected)
        for number in SECRETS:
            resolver.names[NAME] = [number]
            with pytest.raises(SourceUnreadable, match="not opened"):
                fetch(f"http://{NAME}/", places, LIMITS)
        assert len(connected) == opened

    def test_a_name_is_resolved_once_and_the_connection_is_pinned(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A name that is public when it is checked, and ours when it is used, gains nothing.
        answers = iter([["127.0.0.1"], ["10.9.8.7"], ["10.9.8.7"]])
        resolver = Resolver()
        asked = []

        def changing(host: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(host)
            if host == NAME:
                resolver.names[NAME] = next(answers)
            return resolver(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", changing)
        assert fetch(server.uri(), access(server), LIMITS) == b"12345"
        assert asked.count(NAME) == 1
        assert set(asked) == {NAME, "127.0.0.1"}

    def test_a_name_without_a_number(self, resolver: Resolver) -> None:
        for error, kind in (
            (socket.gaierror(socket.EAI_NONAME, "no such name"), SourceUnreadable),
            (socket.gaierror(socket.EAI_AGAIN, "try again"), SourceUnreachable),
            (UnicodeError("label too long"), SourceUnreadable),
            (OSError(24, "too many open files"), SourceUnreachable),
        ):
            resolver.names[NAME] = error
            with pytest.raises(SourceUnreadable, match=str(error.args[-1])) as caught:
                fetch(f"http://{NAME}/", WebAccess(frozenset([NAME])), LIMITS)
            assert type(caught.value) is kind


class TestAnswers:
    def test_a_redirect_is_named_and_not_followed(self, server: Server) -> None:
        for status, target in ((301, "http://169.254.169.254/latest"), (308, "//evil.test/b")):
            server.answer = says(status, Location=target)
            with pytest.raises(SourceUnreadable, match="redirects are not followed") as caught:
                fetch(server.uri(), access(server), LIMITS)
            assert type(caught.value) is SourceUnreadable
            assert target in caught.value.reason
        assert len(server.asked) == 2

    def test_only_200_will_do(self, server: Server) -> None:
        for status in (201, 206, 302, 404):
            server.answer = says(status)
            with pytest.raises(SourceUnreadable, match=f"answers {status}") as caught:
                fetch(server.uri(), access(server), LIMITS)
            assert type(caught.value) is SourceUnreadable
        for status in (408, 425, 429, 503):
            server.answer = says(status, Location="/elsewhere")
            with pytest.raises(SourceUnreachable, match=rf"answers {status}.*try again later"):
                fetch(server.uri(), access(server), LIMITS)
        assert len(server.asked) == 8

    def test_a_packed_body_is_refused(self, server: Server) -> None:
        for packing in ("gzip", "zstd", "gzip, identity"):
            server.answer = says(Content_Encoding=packing)
            with pytest.raises(SourceUnreadable, match=f"Content-Encoding {packing}"):
                fetch(server.uri(), access(server), LIMITS)

    def test_what_is_broken_may_be_whole_next_time(self, server: Server) -> None:
        for part in (
            b"",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n123",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        ):
            server.answer = sends(part)
            with pytest.raises(SourceUnreachable, match="try again later"):
                fetch(server.uri(), access(server), LIMITS)
        assert no_thread_is_left()

    def test_nobody_listens(self, server: Server) -> None:
        server.server_close()
        with pytest.raises(SourceUnreachable, match="is unreachable"):
            fetch(server.uri(), access(server), LIMITS)

    def test_the_tag_asks_nobody(self, server: Server, resolver: Resolver) -> None:
        assert source_tag(server.uri()) == ""
        assert not server.asked
        assert not resolver.asked


class TestSize:
    def test_a_length_over_the_limit_is_refused_before_it_is_read(self, server: Server) -> None:
        server.answer = sends(HEAD + b"Content-Length: 100001\r\n\r\n", then_waits=True)
        with pytest.raises(ImageTooLarge, match=r"100,001 bytes, more than the 100,000 allowed"):
            fetch(server.uri(), access(server), LIMITS)
        assert no_thread_is_left()

    @pytest.mark.parametrize("chunked", [True, False])
    def test_a_body_without_a_length_is_cut_off_at_the_limit(
        self, server: Server, chunked: bool
    ) -> None:
        sent: list[int] = []

        def endless(handler: Any) -> None:
            handler.wfile.write(HEAD)
            handler.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
            part = b"1000\r\n" + b"x" * 4096 + b"\r\n" if chunked else b"x" * 4096
            while not handler.server.is_over.is_set() and len(sent) < 100_000:
                handler.wfile.write(part)
                sent.append(len(part))

        server.answer = endless
        with pytest.raises(ImageTooLarge, match="more than the 100,000 allowed"):
            fetch(server.uri(), access(server), LIMITS)
        assert no_thread_is_left()
        # What lies in the buffers of the machine comes on top of what was read.
        assert sum(sent) < 50_000_000

    def test_the_limit_itself_is_allowed(self, server: Server) -> None:
        body = b"x" * LIMITS.max_bytes
        for length in (b"", b"Content-Length: 100000\r\n"):
            server.answer = sends(HEAD + length + b"\r\n", body)
            assert fetch(server.uri(), access(server), LIMITS) == body


class TestTime:
    @pytest.mark.parametrize(
        "answer",
        [
            sends(then_waits=True),
            sends(HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 1000, pause=0.05),
            sends(HEAD, *[b"X: y\r\n"] * 1000, pause=0.05),
            sends(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000, pause=0.05),
            sends(HEAD + b"\r\n12345", then_waits=True),
        ],
    )
    def test_drip_by_drip_does_not_outlast_the_deadline(
        self, server: Server, answer: Answer
    ) -> None:
        server.answer = answer
        with pytest.raises(SourceUnreachable, match=r"took longer than 0\.4 seconds"):
            fetch(server.uri(), access(server, seconds=0.4), LIMITS)
        assert no_thread_is_left()

    def test_a_server_that_does_not_begin_its_encryption(self, server: Server) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            server.port = silent.getsockname()[1]
            with pytest.raises(SourceUnreachable, match="took longer"):
                fetch(server.uri(scheme="https"), access(server, seconds=0.4), LIMITS)
        assert no_thread_is_left()

    def test_a_name_that_resolves_too_late_is_not_connected_to(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolved = socket.getaddrinfo
        is_over = threading.Event()

        def late(host: str, *args: Any, **kwargs: Any) -> Any:
            if host == NAME:
                is_over.wait(HANG_S)
            return resolved(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", late)
        with pytest.raises(SourceUnreachable, match="took longer"):
            fetch(server.uri(), access(server, seconds=0.2), LIMITS)
        is_over.set()
        assert no_thread_is_left()
        assert server.asked == []


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for NAME that signs itself, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


class TlsServer(Server):
    """Which also notes the names that clients ask for in the handshake."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.named: list[str] = []
        context.set_servername_callback(lambda _, name, __: self.named.append(str(name)))
        self.socket = context.wrap_socket(self.socket, server_side=True)


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", autouse=True)
def _machine_that_trusts(trusted: tuple[Path, Path]) -> Iterator[None]:
    """From the first test on, since what the machine trusts is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(trusted[0]))
        yield


def tls(files: tuple[Path, Path]) -> TlsServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return TlsServer(context)


@pytest.fixture
def tls_server(trusted: tuple[Path, Path]) -> Iterator[TlsServer]:
    with running(tls(trusted)) as server:
        yield server


class TestEncryption:
    def test_the_certificate_is_that_of_the_name(self, tls_server: TlsServer) -> None:
        uri = tls_server.uri(scheme="https")
        assert fetch(uri, access(tls_server), LIMITS) == b"12345"
        assert tls_server.named == [NAME]
        assert tls_server.asked[0][1]["Host"] == f"{NAME}:{tls_server.port}"

    def test_a_certificate_for_another_name(
        self, tls_server: TlsServer, resolver: Resolver
    ) -> None:
        resolver.names["other.test"] = ["127.0.0.1"]
        uri = tls_server.uri(scheme="https", name="other.test")
        with pytest.raises(SourceUnreadable, match=r"certificate .*mismatch.*FILE") as caught:
            fetch(uri, access(tls_server, "other.test"), LIMITS)
        assert type(caught.value) is SourceUnreadable
        assert tls_server.asked == []

    def test_a_certificate_that_nobody_vouches_for(self, tmp_path: Path) -> None:
        with running(tls(certificate(tmp_path))) as server:
            with pytest.raises(SourceUnreadable, match=r"certificate .*SSL_CERT_FILE") as caught:
                fetch(server.uri(scheme="https"), access(server), LIMITS)
            assert type(caught.value) is SourceUnreadable
            assert server.asked == []

    def test_a_server_without_encryption(self, server: Server) -> None:
        with pytest.raises(SourceUnreachable):
            fetch(server.uri(scheme="https"), access(server), LIMITS)

    def test_drip_by_drip_under_encryption(self, tls_server: TlsServer) -> None:
        tls_server.answer = sends(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 1000, pause=0.05)
        with pytest.raises(SourceUnreachable, match="took longer"):
            fetch(tls_server.uri(scheme="https"), access(tls_server, seconds=0.4), LIMITS)
        assert no_thread_is_left()
