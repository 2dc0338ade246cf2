"""What made a hit match, against the same computed by hand from the gallery's own maps."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from descriptors.arrays import Box, Size
from descriptors.images import read_image
from galleries.kept_maps import stack_kept
from reranker.errors import UpstreamRefused
from reranker.explain.hit_files import heat_png
from reranker.http.exchange import Answer
from tests.support.tiny_service import REGIONS, ask, image_text, tiny_service

EXPLAIN = "/_camsearch/explain"
BOX = [8, 4, 80, 60]


@pytest.fixture(scope="module")
def service(folder):
    with tiny_service(folder) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(service):
    service.upstream.asked.clear()
    service.upstream.instead.clear()


def explained(service, body, **said):
    answer = ask(service, "POST", EXPLAIN, json=body, **said)
    assert answer.status_code == 200, answer.text
    return answer.json()


def query_of(service, folder, box=BOX):
    image = read_image((folder / "0" / "a.png").read_bytes())
    method = service.method
    described = method.describe_query(image, REGIONS, None if box is None else Box(*box))
    return described, method.encode(image)


def hit_maps(service, number):
    method = service.method
    kept = service.matcher.features.get({f"{number}/a.png": digest_of(service, number)})
    maps = list(kept.values())
    return stack_kept(maps, method.encoder.device, method.encoder.kept_dtype)


def digest_of(service, number):
    hit = ask(service, "GET", f"/images/_doc/{number}%2Fa.png").json()
    return hit["_source"]["digest"]


def test_an_overlay_is_the_heat_map_alone(service, folder):
    body = {"id": "3/a.png", "image": {"data": image_text(folder)}}
    drawn, overlay = (
        Image.open(BytesIO(base64.b64decode(explained(service, body | more)["heat_map"])))
        for more in ({}, {"overlay": True})
    )
    assert (drawn.mode, overlay.mode, overlay.size) == ("RGB", "RGBA", drawn.size)


@pytest.mark.parametrize(("box", "regions"), [(BOX, True), (None, False)])
def test_a_hit_is_explained_as_it_is_matched(service, folder, box, regions):
    asked = {"id": "3/a.png", "image": {"data": image_text(folder)}, "regions": regions}
    found = explained(service, asked if box is None else asked | {"box": box})

    query, _ = query_of(service, folder, box)
    settings = REGIONS if regions else REGIONS.model_copy(update={"thresholds": ()})
    settings = settings.model_copy(update={"whole_image": True}) if not regions else settings
    [match] = service.method.match_regions(query, hit_maps(service, 3), settings)
    assert found["id"] == "3/a.png"
    assert found["cosine"] == pytest.approx(match.score, abs=1e-5)
    assert found["score"] == pytest.approx((1 + match.score) / 2, abs=1e-5)
    assert sorted(one["cosine"] for one in found["regions"]) == pytest.approx(
        sorted(score for _, score in match.tried), abs=1e-5
    )
    assert found["regions"][0]["box"] == found["box"]
    assert [one["cosine"] for one in found["regions"]] == sorted(
        (one["cosine"] for one in found["regions"]), reverse=True
    )
    if not regions:
        assert found["box"] == [0, 0, 96, 64]


def test_the_layers_parts_sum_up_to_the_cosine(service, folder):
    body = {"id": "3/a.png", "image": {"data": image_text(folder)}, "box": BOX}
    found = explained(service, body)
    names = [layer.name for layer in service.method.settings.layers]
    assert [layer["name"] for layer in found["layers"]] == names
    parts = [layer["cosine"] for layer in found["layers"]]
    assert sum(parts) == pytest.approx(found["cosine"], abs=1e-5)


def test_channels_are_the_largest_summands_of_the_class_vectors_product(service, folder):
    """By loops, for the image as a whole."""
    body = {"id": "3/a.png", "image": {"data": image_text(folder)}, "regions": False}
    found = explained(service, body)
    from descriptors.aggregation import region_class_vectors

    method = service.method
    query, ours = query_of(service, folder, None)
    classes = query.classes[None, :3]
    for layer, mine, theirs in zip(
        found["layers"],
        region_class_vectors(method.encoder, ours, classes),
        region_class_vectors(method.encoder, hit_maps(service, 3), classes),
        strict=True,
    ):
        products = {
            k: sum(float(mine[0, 0, n, k] * theirs[0, 0, n, k]) for n in range(3))
            for k in range(mine.shape[-1])
        }
        whole = sum(products.values())
        best = sorted(products, key=lambda k: -products[k])[:5]
        assert [one["channel"] for one in layer["channels"]] == best
        for one in layer["channels"]:
            assert one["product"] == pytest.approx(products[one["channel"]], abs=1e-5)
            assert one["share"] == pytest.approx(products[one["channel"]] / whole, abs=1e-5)


def test_the_first_cosine_is_that_of_the_indexed_vector(service, folder):
    found = explained(service, {"id": "3/a.png", "image": {"data": image_text(folder)}})
    vector = {"query": {"ids": {"values": ["3/a.png"]}}, "fields": ["descriptor"]}
    [hit] = ask(service, "POST", "/images/_search", json=vector).json()["hits"]["hits"]
    query, _ = query_of(service, folder, None)
    expected = float(torch.tensor(hit["fields"]["descriptor"]) @ query.descriptor)
    assert found["first_cosine"] == pytest.approx(expected, abs=1e-5)


def test_classes_are_the_querys_with_the_hits_probability(service, folder):
    found = explained(service, {"id": "3/a.png", "image": {"data": image_text(folder)}})
    query, _ = query_of(service, folder, None)
    probabilities = hit_maps(service, 3).scores.softmax(dim=1)[0]
    assert [one["number"] for one in found["classes"]] == query.classes[:3].tolist()
    for one in found["classes"]:
        assert one["probability_in_hit"] == pytest.approx(float(probabilities[one["number"]]), 1e-4)
        assert one["name"] is None  # ten classes are not ImageNet's


def test_the_heat_map_lies_over_the_hits_image(service, folder):
    body = {"id": "3/a.png", "image": {"data": image_text(folder)}}
    png = base64.b64decode(explained(service, body)["heat_map"])
    alone = ask(service, "POST", EXPLAIN, json=body, headers={"accept": "image/png"})
    assert alone.headers["content-type"] == "image/png"
    assert alone.content == png
    shown = Image.open(BytesIO(png))
    assert (shown.format, shown.size, shown.mode) == ("PNG", (96, 64), "RGB")


def test_without_the_file_the_heat_map_stands_alone(folder):
    def gone(_):
        raise UpstreamRefused("It is gone.", None)

    for read in (gone, None):
        with tiny_service(folder, parts={"read": read}) as service:
            body = {"id": "3/a.png", "image": {"data": image_text(folder)}}
            png = base64.b64decode(explained(service, body)["heat_map"])
        shown = Image.open(BytesIO(png))
        assert (shown.size, shown.mode) == ((96, 64), "RGBA")


def test_a_gallery_that_keeps_no_maps_explains_as_well(service, folder):
    for image in ({"data": image_text(folder)}, {"id": "0/a.png"}):
        body = {"id": "3/a.png", "image": image, "box": BOX}
        with tiny_service(folder, parts={"features": None}) as without:
            found = explained(without, body)
        kept = explained(service, body)
        for one in (kept, found):
            with Image.open(BytesIO(base64.b64decode(one.pop("heat_map")))) as shown:
                assert (shown.size, shown.mode) == ((96, 64), "RGB")
        assert [c["number"] for c in found["classes"]] == [c["number"] for c in kept["classes"]]
        # Kept maps are rounded, and a box of an indexed image is cut out of them.
        assert found["first_cosine"] == pytest.approx(kept["first_cosine"], abs=0.02)
        assert found["cosine"] == pytest.approx(kept["cosine"], abs=0.02)
        assert found["regions"][0]["box"] == found["box"]


def test_a_bare_heat_map_is_as_large_as_the_image_but_not_larger_than_1024():
    heat = np.zeros((4, 8), np.float32)
    heat[0, 0] = 1
    shown = Image.open(BytesIO(heat_png(heat, Size(4000, 2000), None, None)))
    assert shown.size == (1024, 512)
    assert shown.getpixel((40, 40))[3] > 150  # hot where it is hot
    assert shown.getpixel((900, 400))[3] == 0
    marked = Image.open(BytesIO(heat_png(heat, Size(400, 200), None, Box(100, 50, 300, 150))))
    assert marked.getpixel((200, 50))[:3] == (255, 214, 51)


def test_what_is_read_is_read_with_the_callers_rights(service):
    body = {"id": "3/a.png", "image": {"id": "2/a.png"}}
    explained(service, body, headers={"authorization": "ApiKey me"})
    asked = service.upstream.asked
    assert [one.path for one in asked if "_search" in one.path] == ["/images/_search"] * 2
    assert all((b"authorization", b"ApiKey me") in one.headers for one in asked)


@pytest.mark.parametrize(
    ("body", "words", "status"),
    [
        ({"id": "9", "image": {"id": "1/a.png"}}, "not a document", 404),
        ({"id": "1/a.png", "image": {"id": "9"}}, "not a document", 404),
        ({"image": {"id": "1/a.png"}}, "[id] must be", 400),
        ({"id": "1/a.png"}, "[body.image] must be", 400),
        ({"id": "1/a.png", "image": {"id": "2"}, "boxes": 1}, "[body.boxes] is not known", 400),
        ({"id": "1/a.png", "image": {"id": "2/a.png"}, "box": [900, 0, 950, 9]}, "outside", 400),
        ({"id": "1/a.png", "image": {"data": "AAAA"}}, "not an image", 400),
        ({"id": "1/a.png", "image": {"url": "https://x/y.jpg"}}, "not allowed", 400),
        (
            {"id": "1/a.png", "image": {"id": "2"}, "index": "_snapshot"},
            "not the name of an index",
            400,
        ),
        ({"id": "1/a.png", "image": {"id": "2"}, "index": "a,.."}, "not the name of an index", 400),
        ({"id": "1/a.png", "image": {"id": "2/a.png"}, "index": "others"}, "no such index", 404),
        ([], "must be an object", 400),
    ],
)
def test_what_cannot_be_explained_is_said_in_elasticsearchs_shape(service, body, words, status):
    answer = ask(service, "POST", EXPLAIN, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["reason"]
    assert answer.json()["status"] == status


def test_a_body_that_is_not_json_is_refused(service):
    answer = ask(service, "POST", EXPLAIN, content=b"{")
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


def test_elasticsearchs_refusal_is_the_callers(service):
    said = Answer(403, ((b"content-type", b"application/json"),), b'{"status": 403}')
    service.upstream.instead["_search"] = said
    body = {"id": "3/a.png", "image": {"id": "2/a.png"}}
    answer = ask(service, "POST", EXPLAIN, json=body)
    assert (answer.status_code, answer.json()) == (403, {"status": 403})


def test_too_large_a_body_is_refused(folder):
    with tiny_service(folder, serve_max_body=1024) as service:
        answer = ask(service, "POST", EXPLAIN, content=b"x" * 1025)
        assert answer.status_code == 413
        assert json.loads(answer.content)["error"]["type"] == "content_too_long_exception"
