"""Images from the web: from allowed hosts only, and within limits of size and time.

Neither who writes an address nor who answers at it may have this machine open its own network,
wait for ever, or fill up.
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

__all__ = ["WebAccess", "fetch"]

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]")
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_RESOLVER_TROUBLE = (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM)

# Where clouds tell a machine its secrets. Nobody keeps images there, so these stay closed even
# where private addresses are open; Azure's and Oracle's look like public ones.
_METADATA = "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 "
_METADATA += "192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254"
_SECRETS = frozenset(map(ip_address, _METADATA.split()))

# Not the public internet (of IPv6: 2000::/3), though some version of ipaddress calls it global.
_SPECIAL = "100.64.0.0/10 192.0.0.0/24 192.88.99.0/24 224.0.0.0/4 240.0.0.0/4 "
_SPECIAL += "::/3 4000::/2 8000::/1 2001::/23 3fff::/20"
_CLOSED = tuple(map(ip_network, _SPECIAL.split()))
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class WebAccess:
    """Which hosts images may be fetched from; by default none.

    Attributes:
        hosts: such as ``example.org``; ``*.example.org`` allows all below it, but not itself.
            A port other than the scheme's own is named: ``example.org:8080``.
        seconds: for a whole download, from the name's resolution to the last byte.
        private_addresses: whether hosts may lie in one's own network, or on this machine.
        machines: such as ``sftp://example.org``, that other addresses may name; see
            `indexer.named_machines`.

    Raises:
        SettingsError: for an entry that is no host, or a time that is not positive.
    """

    hosts: frozenset[str] = frozenset()
    seconds: float = 20.0
    private_addresses: bool = False
    machines: frozenset[str] = frozenset()

    @classmethod
    def listed(cls, hosts: str) -> WebAccess:
        """The hosts and machines of a list with commas, as the setting ``web_hosts`` has it."""
        named = frozenset(host.strip() for host in hosts.split(",") if host.strip())
        machines = frozenset(one for one in named if "://" in one)
        return cls(named - machines, machines=frozenset(map(machine_of, machines)))

    def __post_init__(self) -> None:
        for entry in self.hosts:
            _name_and_port(entry)
        if not self.seconds > 0:
            raise SettingsError(f"{self.seconds} seconds are no time: name a positive number.")


def fetch(uri: str, access: WebAccess, limits: ImageLimits) -> bytes:
    """The bytes at an address of the web.

    The host's name is resolved once, and that very address connected to: a name that changes
    its mind gains nothing. Redirects are not followed, nor proxies of the environment used;
    certificates are checked against the system's authorities, or those of ``SSL_CERT_FILE``.

    Args:
        uri: ``http://…`` or ``https://…``.
        access: the hosts that are allowed, and the time.
        limits: the body may have no more than `max_bytes`.

    Returns:
        The body of an answer 200.

    Raises:
        SourceUnreachable: if another try may succeed: time-outs, connections, 429, 5xx.
        SourceUnreadable: if it would not: a host that is not allowed, a private address, a
            redirect, a bad certificate, 404.
        ImageTooLarge: for a larger body; before it is read, where the server says its length.
    """
    download = _Download(_checked(uri, access), access, limits)
    # In a thread of its own, since resolving a name has no time limit, and a socket's counts
    # only between two bytes. It is a daemon, so that a resolver that hangs holds up no exit.
    Thread(target=download.run, name="web", daemon=True).start()
    try:
        done, _ = wait([download.answer], timeout=access.seconds)
    finally:
        download.cut_off()
    if not done:  # asked before the cut, which may look like the end of a body
        raise SourceUnreachable(
            f"{uri} took longer than {access.seconds:g} seconds: try again later, or allow more."
        )
    return download.answer.result()


def _checked(uri: str, access: WebAccess) -> Url:
    """The address in its parts, if it may be opened; its port is None where it is the usual."""
    url = Url()
    with suppress(LocationParseError):
        url = parse_url(uri)
    if url.auth is not None or url.scheme not in _PORTS or not url.host:
        # Not repeated here, since errors go to logs and galleries, and it may hold a password.
        raise SourceUnreadable(
            "The image's address has no http(s) host, or a user or password in it, and is not "
            "opened: mend it, or download the image first."
        )
    url = url._replace(fragment=None, port=None if url.port == _PORTS[url.scheme] else url.port)
    if not any(_is_named(url, entry) for entry in access.hosts):
        raise SourceUnreadable(
            f"{uri} is not opened: images are not fetched from the web, but from allowed hosts. "
            f"Download it first, or allow it: --web-hosts {url.netloc}, or CAMSEARCH_WEB_HOSTS."
        )
    return url


def _is_named(url: Url, entry: str) -> bool:
    (name, port), host = _name_and_port(entry), url.host or ""
    is_below = name.startswith("*.") and host.endswith(name[1:])
    usual = _PORTS[url.scheme or ""]
    return (host == name or is_below) and (url.port or usual) == (port or usual)


def _name_and_port(entry: str) -> tuple[str, int | None]:
    """The parts of an allowed host, read as those of the addresses are."""
    with suppress(LocationParseError):
        url = parse_url(f"//{entry.strip()}")
        if url == Url(host=url.host, port=url.port) and _ENTRY.fullmatch(url.host or ""):
            return url.host or "", url.port
    raise SettingsError(f"{entry!r} is no host: write host.org, *.host.org or host.org:8080.")


class _Download:
    """One download, which can be cut off from another thread at any moment."""

    def __init__(self, url: Url, access: WebAccess, limits: ImageLimits) -> None:
        self.answer: Future[bytes] = Future()
        self._url, self._access, self._limits = url, access, limits
        self._is_over = Event()
        self._socket: socket.socket | None = None

    def run(self) -> None:
        """Download; what came of it is in `answer`."""
        try:
            self.answer.set_result(self._bytes())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self.answer.set_exception(error)

    def cut_off(self) -> None:
        """End the connection, whatever is waited for."""
        self._is_over.set()
        with suppress(OSError):
            if self._socket is not None:
                # Not SSLSocket's own, which forgets the encryption while the other thread reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _bytes(self) -> bytes:
        url = self._url
        try:
            address, late = _address(url, self._access), 2 * self._access.seconds
            with closing(_connection(url, address, late)) as connection:  # long since cut off
                connection.connect()
                self._socket = connection.sock
                if self._is_over.is_set():  # it was, before there was a socket to cut off
                    return b""
                headers = _headers(url.netloc or "")
                connection.request("GET", url.request_uri, headers=headers, preload_content=False)
                with closing(connection.getresponse()) as response:
                    return _body(response, url, self._limits)
        except ssl.SSLCertVerificationError as error:
            raise SourceUnreadable(
                f"The certificate for {url} does not hold ({error.verify_message}): mend it, or "
                "name the file of an authority to trust in SSL_CERT_FILE."
            ) from error
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            raise SourceUnreachable(f"{url} is out of reach ({why}): try again later.") from error


def _address(url: Url, access: WebAccess) -> str:
    """The host's address, resolved this once; if it has several, all must be fit to be opened."""
    try:
        found = socket.getaddrinfo((url.host or "").strip("[]"), None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        is_final = isinstance(error, UnicodeError) or error.errno not in _RESOLVER_TROUBLE
        raise (SourceUnreadable if is_final else SourceUnreachable)(
            f"{url.host} has no address ({error}): check the name, and this machine's resolver."
        ) from error
    addresses = [str(place[0]) for *_, place in found]
    for address in addresses:
        if not _is_open(ip_address(address), access):
            raise SourceUnreadable(
                f"{url} is not opened, since {address} is no address of the public internet: name "
                "a public host, or allow private addresses."
            )
    return addresses[0]


def _is_open(address: IPv4Address | IPv6Address, access: WebAccess) -> bool:
    """Whether an address may be connected to; IPv4 in the clothes of IPv6 is what it is inside."""
    if isinstance(address, IPv6Address):
        inside = IPv4Address(int(address) % 2**32) if address in _NAT64 else None
        address = inside or address.ipv4_mapped or address.sixtofour or address
    if address in _SECRETS or access.private_addresses:
        return address not in _SECRETS
    return address.is_global and not any(address in network for network in _CLOSED)


def _connection(url: Url, address: str, seconds: float) -> HTTPConnection:
    """To this very address, with the certificate of the name."""
    port = url.port or _PORTS[url.scheme or ""]
    if url.scheme == "http":
        return HTTPConnection(address, port, timeout=seconds)
    name, trust = (url.host or "").strip("[]"), _trust()
    return HTTPSConnection(address, port, timeout=seconds, ssl_context=trust, server_hostname=name)


@cache
def _trust() -> ssl.SSLContext:
    """The authorities we trust, which take longer to read than an image."""
    return ssl.create_default_context()


@cache
def _headers(authority: str) -> dict[str, str]:
    # Not packed, else a small answer could unfold to any size.
    plain = {"Accept-Encoding": "identity", "Connection": "close"}
    return plain | {"Host": authority, "User-Agent": f"camsearch/{version('camsearch')}"}


def _body(response: HTTPResponse, url: Url, limits: ImageLimits) -> bytes:
    _check_status(response, url)
    packing = response.headers.get("Content-Encoding", "identity").strip()
    if packing.lower() not in ("", "identity"):
        raise SourceUnreadable(f"{url} comes as {packing[:40]}: have its server send it plain.")
    check_size(response.length_remaining or 0, limits)
    body = bytearray()
    for part in response.stream(decode_content=False):
        body += part
        check_size(len(body), limits)
    return bytes(body)


def _check_status(response: HTTPResponse, url: Url) -> None:
    status, said = response.status, f"{url} answers {response.status} {response.reason}"
    elsewhere = response.headers.get("Location")
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise SourceUnreachable(f"{said}: try again later.")
    if elsewhere and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise SourceUnreadable(
            f"{said} and leads to {urljoin(str(url), elsewhere)[:500]}, and redirects are not "
            "followed: name that address itself, if you trust it."
        )
    if status != HTTPStatus.OK:
        raise SourceUnreadable(f"{said}: check the address, and that it may be read.")
