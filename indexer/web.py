"""Fetch images from allowed web hosts, within limits of size and time.

Guards against server-side request forgery, slow servers and oversized bodies.
"""

from __future__ import annotations

import re
import socket
import ssl
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.client import HTTPException
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Event, Thread
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import Url, parse_url

from descriptors.errors import SettingsError
from descriptors.images import check_size
from indexer.errors import SourceUnreachable, SourceUnreadable
from indexer.named_machines import machine_of

if TYPE_CHECKING:
    from descriptors.images import ImageLimits

__all__ = ["WebAccess", "fetch", "may_pass"]

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]")
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_RESOLVER_TROUBLE = (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM)

# Metadata services of clouds, which hand out credentials: closed even if private addresses are
# allowed. Azure's and Oracle's look like public addresses.
_METADATA = "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 "
_METADATA += "192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254"
_SECRETS = frozenset(map(ip_address, _METADATA.split()))

# Not the public internet (in IPv6: 2000::/3), though some versions of ipaddress call it global.
_SPECIAL = "100.64.0.0/10 192.0.0.0/24 192.88.99.0/24 224.0.0.0/4 240.0.0.0/4 "
_SPECIAL += "::/3 4000::/2 8000::/1 2001::/23 3fff::/20"
_CLOSED = tuple(map(ip_network, _SPECIAL.split()))
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class WebAccess:
    """Hosts that images may be fetched from; none by default.

    Attributes:
        hosts: such as ``example.org``; ``*.example.org`` allows its subdomains only. Ports
            other than the scheme's default are explicit: ``example.org:8080``.
        seconds: time limit of a download, including name resolution.
        private_addresses: whether hosts may be in private networks or on this machine.
        machines: hosts of other protocols, such as ``sftp://example.org``; see
            `indexer.named_machines`.

    Raises:
        SettingsError: for an invalid host, or a timeout that is not positive.
    """

    hosts: frozenset[str] = frozenset()
    seconds: float = 20.0
    private_addresses: bool = False
    machines: frozenset[str] = frozenset()

    @classmethod
    def listed(cls, hosts: str) -> WebAccess:
        """Parse the setting ``web_hosts``: hosts and machines separated by commas."""
        named = frozenset(host.strip() for host in hosts.split(",") if host.strip())
        machines = frozenset(one for one in named if "://" in one)
        return cls(named - machines, machines=frozenset(map(machine_of, machines)))

    def __post_init__(self) -> None:
        for entry in self.hosts:
            _name_and_port(entry)
        if not self.seconds > 0:
            raise SettingsError(f"The timeout must be positive, not {self.seconds} seconds.")


def fetch(uri: str, access: WebAccess, limits: ImageLimits) -> bytes:
    """Download a URL.

    The name is resolved once and its address connected to, which prevents DNS rebinding.
    Redirects are not followed and proxies not used. Certificates are checked with the system's
    authorities, or those of ``SSL_CERT_FILE``.

    Returns:
        The body of a response with status 200.

    Raises:
        SourceUnreachable: temporary: a time-out, a connection error, status 429 or 5xx.
        SourceUnreadable: permanent: a host that is not allowed, a private address, a redirect,
            a bad certificate, status 404.
        ImageTooLarge: the body is larger than `limits.max_bytes`.
    """
    download = _Download(_checked(uri, access), access, limits)
    # In a thread, since name resolution has no time-out, and a socket's time-out applies to each
    # read. A daemon, so that a hanging resolver does not delay the exit.
    Thread(target=download.run, name="web", daemon=True).start()
    try:
        done, _ = wait([download.answer], timeout=access.seconds)
    finally:
        download.cut_off()
    if not done:  # known before the cut, which may look like the end of a body
        raise SourceUnreachable(
            f"{uri} took longer than {access.seconds:g} seconds: try again later, or allow more."
        )
    return download.answer.result()


def _checked(uri: str, access: WebAccess) -> Url:
    """Parse a URL and check that its host is allowed; a default port becomes None."""
    url = Url()
    with suppress(LocationParseError):
        url = parse_url(uri)
    if url.auth is not None or url.scheme not in _PORTS or not url.host:
        # The address is left out: it may have a password, and errors go to logs and galleries.
        raise SourceUnreadable(
            "The image's address is not opened, since it has no http(s) host, or has a user or "
            "password in it: correct it, or download the image first."
        )
    url = url._replace(fragment=None, port=None if url.port == _PORTS[url.scheme] else url.port)
    if not any(_is_named(url, entry) for entry in access.hosts):
        raise SourceUnreadable(
            f"{uri} is not opened: its host is not allowed. Download the image first, or allow "
            f"the host: --web-hosts {url.netloc}, or CAMSEARCH_WEB_HOSTS."
        )
    return url


def _is_named(url: Url, entry: str) -> bool:
    (name, port), host = _name_and_port(entry), url.host or ""
    is_below = name.startswith("*.") and host.endswith(name[1:])
    usual = _PORTS[url.scheme or ""]
    return (host == name or is_below) and (url.port or usual) == (port or usual)


def _name_and_port(entry: str) -> tuple[str, int | None]:
    """Name and port of an allowed host, parsed as URLs are."""
    with suppress(LocationParseError):
        url = parse_url(f"//{entry.strip()}")
        if url == Url(host=url.host, port=url.port) and _ENTRY.fullmatch(url.host or ""):
            return url.host or "", url.port
    raise SettingsError(
        f"{entry!r} is not a valid host: write host.org, *.host.org or host.org:8080."
    )


class _Download:
    """A download that another thread can cut off."""

    def __init__(self, url: Url, access: WebAccess, limits: ImageLimits) -> None:
        self.answer: Future[bytes] = Future()
        self._url, self._access, self._limits = url, access, limits
        self._is_over = Event()
        self._socket: socket.socket | None = None

    def run(self) -> None:
        """Download into `answer`."""
        try:
            self.answer.set_result(self._bytes())
        except BaseException as error:  # noqa: BLE001 - raised by `answer.result`
            self.answer.set_exception(error)

    def cut_off(self) -> None:
        """Shut down the connection."""
        self._is_over.set()
        with suppress(OSError):
            if self._socket is not None:
                # SSLSocket.shutdown would drop the TLS state while the other thread reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _bytes(self) -> bytes:
        url = self._url
        try:
            address, late = _address(url, self._access), 2 * self._access.seconds
            with closing(_connection(url, address, late)) as connection:  # cut off before `late`
                connection.connect()
                self._socket = connection.sock
                if self._is_over.is_set():  # cut off before there was a socket
                    return b""
                headers = _headers(url.netloc or "")
                connection.request("GET", url.request_uri, headers=headers, preload_content=False)
                with closing(connection.getresponse()) as response:
                    return _body(response, url, self._limits)
        except ssl.SSLCertVerificationError as error:
            raise SourceUnreadable(
                f"The certificate for {url} is not valid ({error.verify_message}): fix it, or "
                "name a file of trusted authorities in SSL_CERT_FILE."
            ) from error
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            raise SourceUnreachable(f"{url} is unreachable ({why}): try again later.") from error


def _address(url: Url, access: WebAccess) -> str:
    """Resolve the host; all its addresses must be allowed, and the first is returned."""
    try:
        found = socket.getaddrinfo((url.host or "").strip("[]"), None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        is_final = isinstance(error, UnicodeError) or error.errno not in _RESOLVER_TROUBLE
        raise (SourceUnreadable if is_final else SourceUnreachable)(
            f"{url.host} cannot be resolved ({error}): check the name, and this machine's DNS."
        ) from error
    addresses = [str(place[0]) for *_, place in found]
    for address in addresses:
        if not _is_open(ip_address(address), access):
            raise SourceUnreadable(
                f"{url} is not opened, since {address} is not a public address: name a public "
                "host, or allow private addresses."
            )
    return addresses[0]


def _is_open(address: IPv4Address | IPv6Address, access: WebAccess) -> bool:
    """Whether an address may be connected to; IPv4-mapped IPv6 counts as IPv4."""
    if isinstance(address, IPv6Address):
        inside = IPv4Address(int(address) % 2**32) if address in _NAT64 else None
        address = inside or address.ipv4_mapped or address.sixtofour or address
    if address in _SECRETS or access.private_addresses:
        return address not in _SECRETS
    return address.is_global and not any(address in network for network in _CLOSED)


def _connection(url: Url, address: str, seconds: float) -> HTTPConnection:
    """A connection to the address that expects the certificate of the name."""
    port = url.port or _PORTS[url.scheme or ""]
    if url.scheme == "http":
        return HTTPConnection(address, port, timeout=seconds)
    name, trust = (url.host or "").strip("[]"), _trust()
    return HTTPSConnection(address, port, timeout=seconds, ssl_context=trust, server_hostname=name)


@cache
def _trust() -> ssl.SSLContext:
    """The trusted authorities; reading them takes longer than a download."""
    return ssl.create_default_context()


@cache
def _headers(authority: str) -> dict[str, str]:
    # Uncompressed, since a small compressed body can expand to any size.
    plain = {"Accept-Encoding": "identity", "Connection": "close"}
    return plain | {"Host": authority, "User-Agent": f"camsearch/{version('camsearch')}"}


def _body(response: HTTPResponse, url: Url, limits: ImageLimits) -> bytes:
    _check_status(response, url)
    packing = response.headers.get("Content-Encoding", "identity").strip()
    if packing.lower() not in ("", "identity"):
        raise SourceUnreadable(
            f"{url} is sent with Content-Encoding {packing[:40]}: have its server send it as is."
        )
    check_size(response.length_remaining or 0, limits)
    body = bytearray()
    for part in response.stream(decode_content=False):
        body += part
        check_size(len(body), limits)
    return bytes(body)


def may_pass(status: object) -> bool:
    """Whether a later request may succeed after this status: 408, 425, 429 and 5xx."""
    if not isinstance(status, int):
        return False
    return status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _check_status(response: HTTPResponse, url: Url) -> None:
    status, said = response.status, f"{url} answers {response.status} {response.reason}"
    elsewhere = response.headers.get("Location")
    if may_pass(status):
        raise SourceUnreachable(f"{said}: try again later.")
    if elsewhere and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise SourceUnreadable(
            f"{said} and redirects to {urljoin(str(url), elsewhere)[:500]}, but redirects are not "
            "followed: use that address if you trust it."
        )
    if status != HTTPStatus.OK:
        raise SourceUnreadable(f"{said}: check the address and its permissions.")
