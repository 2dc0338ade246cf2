"""`camsearch serve`: its options, what it refuses, and the service that it makes."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import orjson
import pytest

from camsearch import serving
from camsearch.settings import read_settings
from descriptors.errors import ArtifactError
from descriptors.machine import method_of
from descriptors.settings import RegionSettings
from galleries.about import about_method
from galleries.documents import IndexedImage
from galleries.local import LocalGallery
from reranker.errors import DialectError, ImageNotFound
from reranker.http.exchange import Request
from tests.support.images import encoded, shapes
from tests.unit.camsearch.conftest import MACHINE

REGIONS = RegionSettings(n_classes=3)
KNN = {"field": "descriptor", "k": 5, "num_candidates": 50}
JSON = ((b"content-type", b"application/json"),)


@pytest.fixture
def folder(tiny, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        (photos / f"{i}.png").write_bytes(encoded(shapes(96, 64, seed=i)))
    with tiny.library(tmp_path / "gallery", maps="maps") as library:
        library.index(photos)
    return tmp_path / "gallery"


class TestRefused:
    @pytest.mark.parametrize("port", [-1, 65536, "x"])
    def test_an_invalid_port(self, camsearch, port):
        said = camsearch("serve", "--port", port)
        assert said.status == 2
        assert "--port" in said.err

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--elasticsearch", "http://localhost:9200"),
            ("--preset", "paper"),
            ("--weights", "w.safetensors"),
            ("--whitening", "w.safetensors"),
            ("--maps", "/maps"),
        ],
    )
    def test_options_that_a_gallery_in_a_folder_excludes(self, camsearch, tmp_path, option, value):
        said = camsearch("serve", "--gallery", tmp_path, option, value)
        assert said.status == 2
        assert option in said.err
        assert "--gallery" in said.err

    def test_a_folder_without_a_gallery(self, camsearch, tmp_path):
        said = camsearch("serve", "--gallery", tmp_path / "none")
        assert said.status == 1
        assert str(tmp_path / "none") in said.err
        assert "Traceback" not in said.err

    def test_a_port_that_is_taken(self, camsearch, folder):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = camsearch("serve", "--gallery", folder, "--port", port)
        assert said.status == 1
        assert f"127.0.0.1:{port} is not available" in said.err

    def test_an_invalid_address(self, camsearch):
        said = camsearch("serve", "--elasticsearch", "nonsense")
        assert said.status == 1
        assert "nonsense" in said.err
        assert "Traceback" not in said.err


def ids_of(folder):
    with LocalGallery.open(folder) as gallery:
        return [document.id for document in gallery.documents()]


def asked(service, body):
    request = Request("POST", "/images/_search", "", JSON, orjson.dumps(body))
    answer = asyncio.run(service.visual(request))
    return orjson.loads(answer.body), dict(answer.headers)


class TestOverFolder:
    def test_it_answers_as_the_library_does(self, folder):
        settings = read_settings()
        with serving.over_folder(folder, settings, MACHINE) as service:
            ids = ids_of(folder)
            ours = {"image": {"id": ids[2]}, "rank_window_size": 3, "expand": {"hits": 2}}
            answer, headers = asked(service, {"knn": KNN, "ext": {"camsearch": ours}})
        assert answer["hits"]["hits"][0]["_id"] == ids[2]
        assert len(answer["hits"]["hits"]) == 5
        assert b"warning" not in headers

    def test_hits_without_maps_are_encoded_again(self, folder):
        for path in folder.rglob("*.maps"):
            path.unlink()
        with serving.over_folder(folder, read_settings(), MACHINE) as service:
            ids = ids_of(folder)
            ours = {"image": {"id": ids[2]}, "rank_window_size": 3, "rerank": {"by": "maps"}}
            answer, headers = asked(service, {"knn": KNN, "ext": {"camsearch": ours}})
        boxes = ["camsearch.box" in hit.get("fields", {}) for hit in answer["hits"]["hits"]]
        assert boxes == [True] * 3 + [False] * 2
        assert b"warning" not in headers

    def test_the_index_has_the_name_of_the_settings(self, folder):
        settings = read_settings().model_copy(update={"images": "photos"})
        with serving.over_folder(folder, settings, MACHINE) as service:
            answer = asyncio.run(service.upstream.ask(Request("GET", "/photos/_mapping")))
        assert answer.status == 200

    def test_urls_are_fetched_from_listed_hosts_only(self, folder):
        builder = {"camsearch": {"image": {"url": "https://other.example/a.png"}}}
        body = {"knn": KNN | {"query_vector_builder": builder}}
        with (
            serving.over_folder(folder, read_settings(), MACHINE) as service,
            pytest.raises(DialectError, match="CAMSEARCH_WEB_HOSTS"),
        ):
            asked(service, body)
        listed = read_settings().model_copy(update={"web_hosts": "example.org"})
        with (
            serving.over_folder(folder, listed, MACHINE) as service,
            pytest.raises(DialectError, match="cannot be fetched"),
        ):
            asked(service, body)

    @pytest.mark.parametrize(
        "uri", ["http://localhost/a.png", "sftp://localhost/a.png", "zip://a::ftp://localhost/a"]
    )
    def test_addresses_of_documents_are_opened_by_the_rules_of_indexing(self, folder, uri):
        with serving.over_folder(folder, read_settings(), MACHINE) as service:
            hit = IndexedImage("a", uri, "0" * 64, 96, 64)
            with pytest.raises(ImageNotFound) as error:
                asyncio.run(service.files.small(hit, 64))
            assert "not opened" in str(error.value.__cause__)
            assert service.matcher.maps_of([hit]) == {}


class TestMethod:
    """Which method describes queries over an Elasticsearch, by what the index says."""

    @pytest.fixture
    def about(self, tiny, tmp_path):
        method = method_of(tiny.settings, tiny.whitening, tiny.weights, MACHINE)
        files = {"whitening": tiny.whitening, "weights": tiny.weights}
        return about_method(method, REGIONS, maps=str(tmp_path / "maps"), **files)

    def test_the_method_of_the_index(self, about):
        method, regions, features = serving.ServedMethod().load(about, MACHINE)
        assert method.fingerprint() == about["fingerprint"]
        assert regions == REGIONS
        assert features is not None
        assert features.address == about["maps"]
        features.close()

    def test_the_given_method(self, tiny, about):
        given = serving.ServedMethod(tiny.settings, None, tiny.whitening, tiny.weights)
        method, _, features = given.load(about, MACHINE)
        assert method.fingerprint() == about["fingerprint"]
        assert features is not None
        features.close()
        other = replace(given, settings=tiny.settings.model_copy(update={"n_classes": 2}))
        method, _, features = other.load(about, MACHINE)
        assert method.fingerprint() != about["fingerprint"]
        assert features is None  # kept maps of another method are none of its own

    def test_maps_at_a_given_address(self, about, tmp_path):
        given = serving.ServedMethod(maps=str(tmp_path / "elsewhere"))
        _, _, features = given.load(about, MACHINE)
        assert features is not None
        assert features.address == str(tmp_path / "elsewhere")
        features.close()

    def test_an_index_without_a_method(self, tiny):
        given = serving.ServedMethod(tiny.settings, None, tiny.whitening, tiny.weights)
        method, regions, features = given.load(None, MACHINE)
        assert method.settings == tiny.settings
        assert (regions, features) == (RegionSettings(), None)

    def test_a_whitening_of_another_method(self, tiny):
        settings = tiny.settings.model_copy(update={"power": 0.25})
        given = serving.ServedMethod(settings, None, tiny.whitening, tiny.weights)
        with pytest.raises(ArtifactError, match="camsearch fit"):
            given.load(None, MACHINE)
