"""Where a query's image comes from."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest
import torch
from PIL import Image

from descriptors.arrays import Box, Size
from descriptors.errors import FeaturelessImage, ImageError, RequestError, UnreadableImage
from descriptors.expansion import combined_query
from descriptors.images import ImageLimits, read_image
from galleries.kept_maps import stack_kept
from reranker.dialect.answers import read_hits
from reranker.dialect.searches import Example, ImageQuery, ImageSource
from reranker.errors import DialectError, UpstreamRefused
from reranker.folder import LocalUpstream
from reranker.http.exchange import Request
from reranker.search.query_images import QueryImages
from reranker.search.rerank import image_of
from tests.support.house import JSON, REGIONS, Scripted, said
from tests.support.images import encoded, shapes

ASKED = Request("POST", "/images/_search", "size=3", (*JSON, (b"authorization", b"x")), b"{}")
BOX = Box(8, 4, 50, 44)


@pytest.fixture(scope="module")
def service(house):
    with house.service() as made:
        yield made


def described(service, query, regions=REGIONS, index="images"):
    return asyncio.run(service.images.describe(ASKED, index, query, regions))


def of_data(data, box=None):
    return ImageQuery((Example(ImageSource(data=data), box),))


def of_id(id_, box=None):
    return ImageQuery((Example(ImageSource(id=id_), box),))


def of_url(url):
    return ImageQuery((Example(ImageSource(url=url)),))


def check_same(expected, found):
    torch.testing.assert_close(found.descriptor, expected.descriptor)
    torch.testing.assert_close(found.region_descriptor, expected.region_descriptor)
    assert found.classes.tolist() == expected.classes.tolist()
    assert (found.image, found.box) == (expected.image, expected.box)


class TestData:
    @pytest.mark.parametrize("box", [None, BOX])
    def test_it_is_described_as_python_does(self, house, service, box):
        expected = house.method.describe_query(house.rgb_image(0), REGIONS, box)
        check_same(expected, described(service, of_data(house.data(0), box)))

    def test_a_large_image_with_a_box_is_read_whole(self, house, service):
        """Read smaller, what is in its box would be a blur."""
        large = encoded(shapes(1024, 768, seed=5), "JPEG", quality=95)
        box = Box(600, 400, 664, 448)
        expected = house.method.describe_query(read_image(large), REGIONS, box)
        check_same(expected, described(service, of_data(large, box)))
        with pytest.raises(RequestError, match="outside"):
            described(service, of_data(large, Box(1030, 10, 1090, 90)))

    def test_the_limits_hold(self, house):
        with (
            house.service(limits=ImageLimits(max_pixels=100)) as strict,
            pytest.raises(ImageError, match="100"),
        ):
            described(strict, of_data(house.data(0)))

    def test_an_image_of_nothing(self, house, service):
        class Blind:
            async def describe(self, image, regions, box):
                query = house.method.describe_query(image, regions, box)
                return replace(query, descriptor=torch.zeros_like(query.descriptor))

        blind = QueryImages(service.indices, Blind(), service.matcher, ImageLimits())
        with pytest.raises(FeaturelessImage, match="larger box"):
            asyncio.run(blind.describe(ASKED, "images", of_data(house.data(0)), REGIONS))


class TestDocument:
    @pytest.mark.parametrize("box", [None, BOX])
    def test_its_kept_maps_are_used(self, house, service, box):
        store = house.store()
        document = house.gallery.get(["03"])["03"]
        kept = store.get({"03": document.digest})["03"]
        store.close()
        encoder = house.method.encoder
        with torch.inference_mode():
            maps = stack_kept([kept], encoder.device, encoder.kept_dtype)
            size = Size(document.width, document.height)
            expected = house.method.describe_kept_query(maps, size, REGIONS, box)
        check_same(expected, described(service, of_id("03", box)))

    def test_it_is_asked_for_with_the_callers_rights(self, house):
        upstream = Scripted(LocalUpstream(house.gallery))
        with house.service(upstream) as service:
            described(service, of_id("03"))
            described(service, of_id("03"), index="")
        first, second = upstream.asked
        assert (first.method, first.path, first.query) == ("POST", "/images/_search", "")
        assert second.path == "/_search"
        assert (b"authorization", b"x") in first.headers
        assert "descriptor" not in orjson.loads(first.body)["fields"]

    def test_elasticsearch_refuses(self, house):
        answer = said({"error": "no"}, 403)
        with house.service(Scripted(turn=lambda _: answer)) as service:
            with pytest.raises(UpstreamRefused) as error:
                described(service, of_id("03"))
            assert error.value.answer is answer

    @pytest.mark.parametrize("missing", ["digest", "width", "height"])
    def test_a_document_of_somebody_else(self, house, missing):
        fields = {"digest": ["d"], "uri": ["u"], "width": [3], "height": [3]}
        del fields[missing]
        answer = hit_answer(fields)
        with (
            house.service(Scripted(turn=lambda _: answer)) as service,
            pytest.raises(DialectError, match="not written by camsearch"),
        ):
            described(service, of_id("03"))

    def test_without_maps_and_image(self, house):
        with (
            house.service(features=None) as service,
            pytest.raises(ImageError, match="No feature maps are kept"),
        ):
            described(service, of_id("03"))


class TestSeveral:
    def test_views_and_what_it_is_not_are_one_query(self, house, service):
        query = ImageQuery(
            (*of_data(house.data(0), BOX).images, *of_id("03").images),
            of_data(house.data(1)).images,
        )
        each = [described(service, ImageQuery((one,))) for one in query.examples]
        check_same(combined_query(each[:2], each[2:]), found := described(service, query))
        assert found.examples == 3

    def test_each_must_have_something_to_describe(self, house, service):
        grey = encoded(Image.new("RGB", (64, 48), "black"))
        query = ImageQuery(of_data(house.data(0)).images, of_data(grey).images)
        with pytest.raises(FeaturelessImage):
            described(service, query)


class TestUrl:
    def test_urls_are_off_by_default(self, service):
        with pytest.raises(DialectError, match="CAMSEARCH_WEB_HOSTS"):
            described(service, of_url("https://example.org/a.png"))

    def test_it_is_fetched_where_that_is_allowed(self, house):
        asked = []

        def fetch(url):
            asked.append(url)
            return house.data(2)

        expected = house.method.describe_query(house.rgb_image(2), REGIONS)
        with house.service(fetch=fetch) as service:
            check_same(expected, described(service, of_url("https://example.org/a.png")))
        assert asked == ["https://example.org/a.png"]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (RequestError("This host is not listed."), DialectError),
            (UnreadableImage("x"), ImageError),
        ],
    )
    def test_what_cannot_be_fetched(self, house, error, kind):
        def fetch(url):
            raise error

        with house.service(fetch=fetch) as service, pytest.raises(kind, match=str(error)):
            described(service, of_url("https://example.org/a.png"))


def hit_answer(fields):
    return said({"hits": {"hits": [{"_index": "i", "_id": "x", "_score": 1.0, "fields": fields}]}})


class TestImageOf:
    def of(self, **fields):
        whole = {"digest": ["d"], "uri": ["u"], "width": [30], "height": [20]}
        (hit,) = read_hits(orjson.loads(hit_answer(whole | fields).body))
        return image_of(hit)

    def test_an_address_may_be_missing(self):
        assert self.of(uri=[]).uri == ""

    @pytest.mark.parametrize(
        "fields",
        [{"digest": []}, {"width": ["30"]}, {"height": [2.5]}, {"width": [0]}, {"height": [-20]}],
        ids=str,
    )
    def test_a_document_that_tells_less_is_no_image_of_ours(self, fields):
        assert self.of(**fields) is None
