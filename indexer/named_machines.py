"""Addresses of file systems that open whichever machine they name, such as ``sftp://host/a.jpg``.

A store such as ``s3://`` goes where whoever runs camsearch has configured; these go where whoever
wrote the address wants, as the web does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from descriptors.errors import SettingsError
from indexer.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["NAMING", "check_machine", "machine_of"]

# Of fsspec's own file systems and those it knows of.
NAMING = (
    *("ftp", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs", "webdav"),
    *("jupyter", "jlab", "root", "dask", "github", "gist"),
)


def machine_of(entry: str) -> str:
    """An allowed machine as addresses are compared with it: ``sftp://host``, perhaps with a port.

    Raises:
        SettingsError: it is none.
    """
    wanted = entry.strip().lower()
    try:
        if (named := _named(wanted)) == wanted:
            return named
    except ValueError:
        pass
    raise SettingsError(
        f"{entry!r} is no machine that images may be read from: write sftp://host.org."
    )


def check_machine(uri: str, allowed: Collection[str]) -> None:
    """Nothing, if the machine that an address names may be opened.

    Args:
        uri: one of these file systems.
        allowed: machines as `machine_of` has them.

    Raises:
        SourceUnreadable: it may not.

    Convention:
        The name is resolved by the file system's own client: unlike the web's, its address is
        not looked at. So a machine is allowed by its operator only, each by its own name.
    """
    named = uri.partition("://")[0].lower()
    try:
        host, password = _named(uri), urlsplit(uri).password
    except ValueError:
        host, password = "", None
    if password is not None:
        # Not repeated here, since errors go to logs and galleries.
        raise SourceUnreadable(
            f"An address of {named} with a password in it is not opened: take it out, and let the "
            "machine know this one by its key."
        )
    if host not in allowed:
        raise SourceUnreadable(
            f"{uri} is not opened: who writes an address does not choose which machine is asked. "
            f"Download it first, or allow it: CAMSEARCH_WEB_HOSTS={host or named + '://host'}."
        )


def _named(address: str) -> str:
    """Scheme, host and port.

    Raises:
        ValueError: it has none.
    """
    parts = urlsplit(address.strip())
    if parts.scheme not in NAMING or not parts.hostname:
        raise ValueError(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
