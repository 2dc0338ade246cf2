"""Elasticsearch's client, and translation of its errors."""

from __future__ import annotations

import json
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from elastic_transport import ConnectionError as NoConnection
from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError

from descriptors.errors import RequestError, SettingsError
from galleries.errors import ContractError, GalleryNotFound, GalleryUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Server", "answered", "connect", "distrust", "packaged_json", "reason_of", "tls_context"]
__all__ += ["without_password"]

# Temporary errors: 429 and 503 of Elasticsearch; 408, 502 and 504 of proxies before it.
PASSING = frozenset({408, 429, 502, 503, 504})
_FORBIDDEN = frozenset({401, 403})
_NOT_FOUND = 404
_BAD_REQUEST = 400


@dataclass(frozen=True)
class Server:
    """The version of an Elasticsearch (major, minor) and its features."""

    version: tuple[int, int]

    @classmethod
    def of(cls, client: Elasticsearch) -> Server:
        """Ask a server for its version.

        Raises:
            GalleryUnreachable: it does not respond.
            ContractError: it is too old.
        """
        with answered("Elasticsearch"):
            number = str(client.info()["version"]["number"])
        major, minor = (int(part) for part in number.split(".")[:2])
        if (major, minor) < (8, 19):
            raise ContractError(
                f"Elasticsearch {number} is too old: camsearch needs 8.19 or any 9."
            )
        return cls((major, minor))

    @property
    def leaves_vectors_out(self) -> bool:
        """Whether `_source` excludes vectors by default."""
        return self.version >= (9, 2)

    @property
    def takes_base64(self) -> bool:
        """Whether a vector may be written as base64 of big-endian float32."""
        return self.version >= (9, 3)

    @property
    def may_terminate_early(self) -> bool:
        """Whether a search of a graph may stop early, which an index can turn off."""
        return self.version >= (9, 2)


def connect(
    address: str,
    *,
    api_key: str | None = None,
    ca_certs: str | None = None,
    seconds: float = 30,
) -> Elasticsearch:
    """A client for an address; does not connect yet.

    Args:
        address: such as http://localhost:9200; may contain user and password.
        api_key: of a user; None for none.
        ca_certs: PEM file of the authority to trust; None for the system's.
        seconds: timeout of a request.

    Raises:
        RequestError: the address is not valid.
        SettingsError: the file does not contain certificates.
    """
    is_https = address.lower().startswith("https:")
    more: dict[str, Any] = {"ssl_context": tls_context(ca_certs)} if is_https else {}
    try:
        return Elasticsearch(
            address,
            **more,
            api_key=api_key,
            request_timeout=seconds,
            max_retries=2,
            retry_on_timeout=True,
        )
    except (ValueError, TypeError, OSError) as error:
        raise RequestError(
            f"{without_password(address)!r} is not a valid Elasticsearch URL ({error}): "
            "write it as http://localhost:9200."
        ) from error


def tls_context(ca_certs: str | None) -> ssl.SSLContext:
    """A TLS context that checks certificates and host names; see `connect`."""
    try:
        return ssl.create_default_context(cafile=ca_certs)
    except OSError as error:  # includes SSLError
        raise SettingsError(
            f"{ca_certs!r} does not contain readable certificates ({error}): set "
            "CAMSEARCH_CA_CERTS to a PEM file of the authority behind Elasticsearch."
        ) from error


def distrust(error: BaseException | None) -> str:
    """The predicate of a sentence about an untrusted certificate; "" for other errors."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    return (
        f"has a certificate that is not trusted ({error.verify_message.rstrip('.')}): set "
        "CAMSEARCH_CA_CERTS to the file of the authority that signed it, and name the server as "
        "the certificate does."
    )


def without_password(address: str) -> str:
    """An address without user and password, for display."""
    scheme, there, rest = address.rpartition("://")
    return f"{scheme}{there}{rest.rpartition('@')[2]}"


@contextmanager
def answered(what: str) -> Iterator[None]:
    """Translate client errors.

    Args:
        what: the operation, as it appears in messages.

    Raises:
        GalleryUnreachable: the server does not respond, or is busy.
        GalleryNotFound: the index does not exist.
        RequestError: the request is invalid.
        ContractError: it is refused for another reason.
    """
    try:
        yield
    except UnsupportedProductError as error:
        raise ContractError("The server is not an Elasticsearch: check its address.") from error
    except ApiError as error:
        raise _translated(what, error) from error
    except TransportError as error:
        if why := distrust(error):
            raise GalleryUnreachable(f"Elasticsearch {why}") from error
        how = "does not answer" if isinstance(error, NoConnection) else "gives no usable answer"
        detail = str(error.message).split("\n", maxsplit=1)[0][:200]
        raise GalleryUnreachable(
            f"Elasticsearch {how} ({detail}): check that it runs and that its address is right."
        ) from error


def _translated(what: str, error: ApiError) -> ContractError | RequestError:
    reason = reason_of(error.body) or str(error)
    if error.status_code in PASSING:
        return GalleryUnreachable(
            f"Elasticsearch is too busy for {what} ({reason}): try again later."
        )
    if error.status_code in _FORBIDDEN:
        return ContractError(
            f"Elasticsearch denied access to {what} ({reason}): check the credentials and their "
            "permissions."
        )
    if error.status_code == _NOT_FOUND:
        return GalleryNotFound(
            f"Elasticsearch did not find {what} ({reason}): create it with "
            "`camsearch gallery create`."
        )
    if error.status_code == _BAD_REQUEST:
        # HEAD requests are answered without a body; ours are refused for no other reason.
        if "media_type" in reason or "compatible" in reason or error.body is None:
            return ContractError(
                f"Elasticsearch does not understand this client ({reason}): install the client "
                "of the server's major version, such as `pip install 'elasticsearch<9'`."
            )
        return RequestError(f"Elasticsearch refuses {what}: {reason}.")
    return ContractError(f"Elasticsearch fails at {what} ({reason}): see its log.")


def reason_of(body: object) -> str:
    """The innermost reason in an error of Elasticsearch; "" if there is none."""
    error = body.get("error", body) if isinstance(body, dict) else body
    reason = ""
    while isinstance(error, dict):
        reason = str(error.get("reason") or reason)
        causes = error.get("root_cause") or [None]
        error = error.get("caused_by") or (causes[0] if causes[0] != error else None)
    return reason or (error if isinstance(error, str) else "")


def packaged_json(name: str) -> dict[str, Any]:
    """A fresh copy of a JSON file of this package."""
    content: dict[str, Any] = json.loads(files("es_mappings").joinpath(name).read_text())
    return content
