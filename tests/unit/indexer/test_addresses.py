"""Addresses of file systems: local ones, memory, and the real clients of S3 and Google's store.

S3 is moto's server. Google's store has no such package, so the few answers that its client asks
for are written here; the client itself is real. Nothing leaves this machine.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock
from urllib.parse import unquote, urlsplit

import fsspec
import pytest
import s3fs
from botocore.exceptions import ClientError
from fsspec.implementations.memory import MemoryFileSystem
from gcsfs import core, retry
from s3fs.errors import translate_boto_error

from descriptors.errors import ImageTooLarge
from descriptors.images import ImageLimits
from indexer.addresses import read_source, source_tag
from indexer.errors import SourceUnreachable, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Store = Callable[[int], Any]

LIMITS = ImageLimits()
FEW = ImageLimits(max_bytes=4)
ODD_NAMES = ["a b.jpg", "100%.jpg", "a%20b.jpg", "a#b.jpg", "a?b.jpg", "ü.jpg", "a::b", "a&b=[c]"]


def is_final(uri: str) -> bool:
    """Whether a refusal says that another try finds the same."""
    with pytest.raises(SourceUnreadable) as caught:
        read_source(uri, LIMITS)
    assert uri in caught.value.reason
    return not isinstance(caught.value, SourceUnreachable)


class TestLocal:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_is_read_as_a_path_and_in_each_address(
        self, tmp_path: Path, name: str
    ) -> None:
        path = tmp_path / name
        path.write_bytes(b"12345")
        for uri in (str(path), f"file://{path}", f"local://{path}", path.as_uri()):
            assert read_source(uri, LIMITS) == b"12345"
            assert source_tag(uri) == source_tag(str(path))
        assert source_tag(str(path)).startswith("5-")

    def test_every_form_of_a_file_address_means_the_file(self, tmp_path: Path) -> None:
        for start in ["file:", "file://", "file://localhost", "FILE://LocalHost"]:
            (tmp_path / "a b.jpg").write_bytes(b"12345")
            uri = f"{start}{tmp_path}/a%20b.jpg"
            assert read_source(uri, LIMITS) == b"12345"
            assert source_tag(uri) == source_tag(str(tmp_path / "a b.jpg")) != ""

    def test_what_is_there_as_it_stands_comes_first(self, tmp_path: Path) -> None:
        (tmp_path / "a b").write_bytes(b"space")
        (tmp_path / "a%20b").write_bytes(b"per cent")
        assert read_source(f"file://{tmp_path}/a%20b", LIMITS) == b"per cent"
        assert read_source(f"file://{tmp_path}/a b", LIMITS) == b"space"

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "file.txt").touch()
        for name in ("gone.jpg", "a\0b.jpg", "x" * 300, "file.txt/a.jpg", os.fsdecode(b"caf\xe9")):
            with pytest.raises(SourceUnreadable, match="check that it exists") as caught:
                read_source(f"{tmp_path}/{name}", LIMITS)
            assert type(caught.value) is SourceUnreadable
        assert is_final(f"file://{tmp_path}/gone.jpg")
        assert source_tag(f"file://{tmp_path}/gone.jpg") == ""

    def test_folders_pipes_and_devices_keep_nobody_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for prefix in ("", "file://", "local://"):
            for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
                with pytest.raises(SourceUnreadable, match="not a regular file"):
                    read_source(f"{prefix}{path}", LIMITS)

    def test_a_large_file_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        # It has no bytes on the disk and more than the memory holds.
        large = tmp_path / "large.jpg"
        large.touch()
        os.truncate(large, 2**40)
        with pytest.raises(ImageTooLarge, match=r"1,099,511,627,776 bytes.*104,857,600 allowed"):
            read_source(str(large), LIMITS)

    def test_a_tag_changes_with_size_and_with_time(self, tmp_path: Path) -> None:
        path, tags = tmp_path / "a.jpg", set()
        for data, time in ((b"1", 10), (b"22", 10), (b"2", 11)):
            path.write_bytes(data)
            os.utime(path, ns=(10, time))
            tags.add(source_tag(str(path)))
        assert len(tags) == 3

    def test_an_image_in_an_archive(self, tmp_path: Path) -> None:
        (tmp_path / "junk.zip").write_bytes(b"junk" * 100)
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("in/a.jpg", b"12345")
        assert read_source(f"zip://in/a.jpg::{tmp_path}/all.zip", LIMITS) == b"12345"
        assert source_tag(f"zip://in/a.jpg::{tmp_path}/all.zip")
        # Each file system has errors of its own: BadZipFile is no OSError.
        for lost in ("zip://gone.jpg::all.zip", "zip://a::junk.zip", "tar://a::junk.zip"):
            assert is_final(lost.replace("::", f"::{tmp_path}/"))

    def test_a_share_that_fails_is_worth_another_try(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(path: str, *args: Any, **kwargs: Any) -> None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

        monkeypatch.setattr(Path, "stat", fails)
        with pytest.raises(SourceUnreachable, match=r"Stale file handle.*try again later"):
            read_source(str(tmp_path / "a.jpg"), LIMITS)


class TestMemory:
    def test_bytes_tag_and_size(self) -> None:
        fsspec.filesystem("memory").pipe_file("/addresses/a#b%20.jpg", b"12345")
        uri = "memory://addresses/a#b%20.jpg"
        assert read_source(uri, LIMITS) == b"12345"
        assert source_tag(uri) == source_tag(uri) != ""
        with pytest.raises(ImageTooLarge):
            read_source(uri, FEW)
        assert is_final("memory://addresses/gone.jpg")
        assert source_tag("memory://addresses/gone.jpg") == ""


class TestHiddenWeb:
    def test_the_web_is_not_opened_through_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = Mock()
        monkeypatch.setattr(socket, "getaddrinfo", asked)
        for uri in [
            *("zip://a.jpg::http://localhost/a.zip", "zip://a.jpg::HTTPS://localhost/a.zip"),
            *("simplecache::https://localhost/a.jpg", "filecache::blockcache::http://localhost/a"),
            *("zip://a.jpg::https", "zip://a::http:localhost/a.zip", "tar://a::zip://b::https://c"),
            *("reference://a.jpg::file:///refs.json", "REFERENCE://a", "dir://a::reference://b"),
            *("generic://https://localhost/a", "generic://file:///a", " https://localhost/a"),
            *("zip://a.jpg::ftp://localhost/a.zip", "simplecache::SFTP://localhost/a.jpg"),
            "memory://a/http://localhost/b.jpg",
        ]:
            with pytest.raises(
                SourceUnreadable,
                match=r"inside other addresses are not allowed\. Download it first",
            ):
                read_source(uri, LIMITS)
            assert source_tag(uri) == ""
        asked.assert_not_called()

    def test_names_that_only_look_like_it_are_read(self) -> None:
        for name in ("https", "reference.jpg", "http.jpg", "generic"):
            fsspec.filesystem("memory").pipe_file(f"/reference/{name}", b"12345")
            assert read_source(f"memory://reference/{name}", LIMITS) == b"12345"


class EndpointConnectionError(Exception):
    """Named as clients name theirs: no OSError."""


class ReadTimeout(Exception):
    """Likewise."""


def of_google(status: object) -> Exception:
    """As the client of Google's store raises it."""
    return retry.HttpError({"code": status, "message": "So it is."})


def of_s3(code: str) -> Exception:
    """As the client of S3 raises it."""
    error: Exception = translate_boto_error(ClientError({"Error": {"Code": code}}, "HeadObject"))
    return error


class FailingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Raises what it is told to."""

    protocol = "failing"
    error: Exception = FileNotFoundError()

    def info(self, path: str, **kwargs: Any) -> None:
        raise self.error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
    return lambda error: monkeypatch.setattr(FailingFileSystem, "error", error)


class TestWhatPasses:
    def test_is_worth_another_try(self, failing: Callable[[Exception], None]) -> None:
        for error in [
            *(TimeoutError(), ConnectionError("broken"), BrokenPipeError(errno.EPIPE, "pipe")),
            *(OSError(number, "x") for number in (errno.EIO, errno.ENETUNREACH, errno.EMFILE)),
            *(EndpointConnectionError("x"), ReadTimeout("x"), of_s3("SlowDown"), of_s3("503")),
            *(of_google(code) for code in (408, 429, 500, 503, 504)),
            fsspec.exceptions.FSTimeoutError(),
        ]:
            failing(error)
            with pytest.raises(SourceUnreachable, match="try again later"):
                read_source("failing://a.jpg", LIMITS)

    def test_is_final(self, failing: Callable[[Exception], None]) -> None:
        for error in [
            *(FileNotFoundError("a.jpg"), PermissionError(errno.EACCES, "x"), ValueError("x")),
            *(OSError("Forbidden: a.jpg"), OSError(errno.EINVAL, "x"), IsADirectoryError("x")),
            *(ImportError("x"), NotImplementedError(), EOFError(), of_s3("AccessDenied")),
            *(of_google(code) for code in (400, 403, 404, None, "x")),
        ]:
            failing(error)
            assert is_final("failing://a.jpg")

    def test_addresses_of_nothing_are_final(self) -> None:
        for uri in ("nosuch://a.jpg", "://a.jpg", "zip://a.jpg::/gone.zip", "memory://"):
            assert is_final(uri)


S3_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "a-key",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """The real client as an operator sets it up: by the variables of AWS. Call it with a port."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in S3_VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)

    def at(port: int) -> Any:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        return fsspec.filesystem("s3")

    yield at
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(s3: Store, s3_server: Any) -> Iterator[Any]:
    fs = s3(s3_server.get_host_and_port()[1])
    fs.mkdir("photos")
    yield fs
    fs.rm("photos", recursive=True)


class TestS3:
    def test_a_folder_is_no_image(self, bucket: Any) -> None:
        bucket.pipe_file("photos/in/a.jpg", b"1")
        for name in ("photos/in", "photos", ""):
            assert is_final(f"s3://{name}")

    def test_without_credentials_it_is_final(
        self, s3: Store, s3_server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        s3(s3_server.get_host_and_port()[1])
        assert is_final("s3://photos/a.jpg")


class GoogleHandler(BaseHTTPRequestHandler):
    """Two answers of the JSON API: an object's metadata, and its bytes."""

    protocol_version = "HTTP/1.1"
    server: GoogleServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        place, _, name = url.path.partition("/o/")
        body = self.server.objects.get(unquote(name))
        if body is None or "/b/photos" not in place:
            self.say(404, b"{}")
        elif "alt=media" in url.query:
            self.say(200, body)
        else:
            said = {"name": unquote(name), "bucket": "photos", "size": len(body)}
            self.say(200, json.dumps(said | {"etag": str(hash(body))}).encode())

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class GoogleServer(ThreadingHTTPServer):
    """Objects of the bucket photos."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GoogleHandler)
        self.port: int = self.server_address[1]
        self.objects: dict[str, bytes] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client asks two questions at once and leaves when it has one answer."""


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    server = GoogleServer()
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """The real client over JSON, told by the variables of Google; call it with a port.

    Its other half, which asks over gRPC what kind of bucket it is, knows no emulator.
    """
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for scheme in ("gs", "gcs"):
        fsspec.register_implementation(scheme, core.GCSFileSystem, clobber=True)

    async def soon(seconds: float) -> None:
        """Its six tries take half a minute."""

    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=soon))

    def at(port: int) -> Any:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        core.GCSFileSystem.clear_instance_cache()
        return fsspec.filesystem("gs")

    yield at
    core.GCSFileSystem.clear_instance_cache()


@pytest.fixture(params=["s3", "gs"])
def put(request: pytest.FixtureRequest) -> Callable[[str, bytes], object]:
    """Writes an object of the bucket photos, at S3 or at Google's store."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        return lambda name, data: bucket.pipe_file(f"photos/{name}", data)
    google = request.getfixturevalue("google")
    request.getfixturevalue("gs")(google.port)
    return google.objects.__setitem__


class TestBothStores:
    @pytest.fixture
    def scheme(self, request: pytest.FixtureRequest) -> str:
        return str(request.node.callspec.params["put"])

    def test_the_bytes_of_an_object(self, put: Any, scheme: str) -> None:
        also = {"s3": "s3a", "gs": "gcs"}[scheme]
        for name in ("in/a.jpg", "in/ü 100%20.jpg", "in/a+b&c=d.jpg"):
            put(name, b"12345")
            assert read_source(f"{scheme}://photos/{name}", LIMITS) == b"12345"
            assert read_source(f"{also}://photos/{name}", LIMITS) == b"12345"

    def test_what_is_not_there_is_final(self, put: Any, scheme: str) -> None:
        put("in/a.jpg", b"1")
        for name in ("photos/gone.jpg", "nobucket/a.jpg"):
            assert is_final(f"{scheme}://{name}")
            assert source_tag(f"{scheme}://{name}") == ""

    def test_a_large_object_is_refused_by_its_size(self, put: Any, scheme: str) -> None:
        put("a.jpg", b"12345")
        with pytest.raises(ImageTooLarge, match="5 bytes, more than the 4 allowed"):
            read_source(f"{scheme}://photos/a.jpg", FEW)

    def test_a_tag_changes_with_the_object(self, put: Any, scheme: str) -> None:
        put("a.jpg", b"1")
        before = source_tag(f"{scheme}://photos/a.jpg")
        assert before == source_tag(f"{scheme}://photos/a.jpg") != ""
        put("a.jpg", b"2")
        assert source_tag(f"{scheme}://photos/a.jpg") != before

    def test_a_store_that_does_not_answer_is_worth_another_try(self, s3: Store, gs: Store) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            closed = int(probe.getsockname()[1])
        for connect, uri in ((s3, "s3://photos/a.jpg"), (gs, "gs://photos/a.jpg")):
            connect(closed)
            assert not is_final(uri)
