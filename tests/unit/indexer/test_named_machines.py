"""Who writes an address does not choose which machine is asked."""

from __future__ import annotations

import socket
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from descriptors.errors import SettingsError
from descriptors.images import ImageLimits
from indexer.addresses import read_source, source_tag
from indexer.errors import SourceUnreadable
from indexer.named_machines import NAMING
from indexer.web import WebAccess

LIMITS = ImageLimits()
OF_MACHINES = ["ftp://h.test/a.jpg", "sftp://h.test:22/a", "ssh://me@h.test/a", "SMB://h.test/s/a"]


class Sftp(MemoryFileSystem):  # type: ignore[misc]
    """Stands for the file system, whose package is not installed here."""

    protocol = "sftp"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].partition("/")[2]


@pytest.fixture
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.usefixtures("nobody_is_asked")
class TestRefused:
    def test_no_machine_is_allowed_by_default(self) -> None:
        for uri in OF_MACHINES:
            with pytest.raises(SourceUnreadable, match=r"is not opened.*CAMSEARCH_WEB_HOSTS="):
                read_source(uri, LIMITS)
            assert source_tag(uri) == ""

    def test_another_that_is_allowed_does_not_help(self) -> None:
        for allowed in ["h.test", "ftp://h.test", "sftp://h.test:2222", "sftp://a.h.test"]:
            with pytest.raises(SourceUnreadable, match="not opened"):
                read_source("sftp://h.test/a.jpg", LIMITS, WebAccess.listed(allowed))

    def test_what_looks_like_an_allowed_one(self) -> None:
        for uri in [
            *("sftp://h.test@evil.test/a", "sftp://evil.test:22/h.test", "sftp:///a"),
            *("sftp://h.test:x/a", "sftp://h.test/a::sftp://evil.test/b", "sftp://[h.test/a"),
        ]:
            with pytest.raises(SourceUnreadable, match="not opened"):
                read_source(uri, LIMITS, WebAccess.listed("sftp://h.test"))

    def test_a_password_is_not_repeated(self) -> None:
        with pytest.raises(SourceUnreadable) as refused:
            read_source("sftp://me:secret@h.test/a", LIMITS, WebAccess.listed("sftp://h.test"))
        assert "secret" not in refused.value.reason


@pytest.mark.parametrize("uri", ["sftp://h.test/photos/a.jpg", "sftp://me@H.test/photos/a.jpg"])
def test_an_allowed_one_is_opened(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry, "sftp", Sftp)
    fsspec.filesystem("sftp").pipe_file("sftp://h.test/photos/a.jpg", b"12345")
    access = WebAccess.listed("example.org, SFTP://h.test")
    assert read_source(uri, LIMITS, access) == b"12345"
    assert access.hosts == {"example.org"}


def test_an_entry_that_is_none() -> None:
    for entry in ["sftp://", "sftp://h/p", "http://h", "s3://h", "sftp://u@h"]:
        with pytest.raises(SettingsError, match="write "):
            WebAccess.listed(entry)


def test_fsspec_knows_each_of_them() -> None:
    assert set(NAMING) <= set(known_implementations)
