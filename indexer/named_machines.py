"""Addresses that contain a host, such as ``sftp://host/a.jpg``.

The operator configures where ``s3://`` connects to; here the author of the address chooses, as on
the web, so hosts must be allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from descriptors.errors import SettingsError
from indexer.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["NAMING", "check_machine", "machine_of"]

# Protocols of fsspec, built in and known to it, whose addresses contain a host.
NAMING = (
    *("ftp", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs", "webdav"),
    *("jupyter", "jlab", "root", "dask", "github", "gist"),
)


def machine_of(entry: str) -> str:
    """Normalize an allowed machine: ``sftp://host`` or ``sftp://host:port``.

    Raises:
        SettingsError: for anything else.
    """
    wanted = entry.strip().lower()
    try:
        if (named := _named(wanted)) == wanted:
            return named
    except ValueError:
        pass
    raise SettingsError(
        f"{entry!r} is not a valid host to read images from: write sftp://host.org."
    )


def check_machine(uri: str, allowed: Collection[str]) -> None:
    """Check that the host of an address is allowed.

    Args:
        uri: an address of one of these protocols.
        allowed: hosts as returned by `machine_of`.

    Raises:
        SourceUnreadable: it is not allowed, or the address has a password.

    Convention:
        The file system's own client resolves the name, so the IP address is not checked.
    """
    named = uri.partition("://")[0].lower()
    try:
        host, password = _named(uri), urlsplit(uri).password
    except ValueError:
        host, password = "", None
    if password is not None:
        # The address is left out, since errors go to logs and galleries.
        raise SourceUnreadable(
            f"An address of {named} with a password in it is not opened: remove it, and "
            "authenticate with a key."
        )
    if host not in allowed:
        raise SourceUnreadable(
            f"{uri} is not opened: its host is not allowed. Download the image first, or allow "
            f"the host: CAMSEARCH_WEB_HOSTS={host or named + '://host'}."
        )


def _named(address: str) -> str:
    """Scheme, host and port of an address; raises `ValueError` without a host."""
    parts = urlsplit(address.strip())
    if parts.scheme not in NAMING or not parts.hostname:
        raise ValueError(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
