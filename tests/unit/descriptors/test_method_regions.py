"""Matching the regions of hits, on the tiny network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from descriptors.arrays import Encoded, QueryDescription, Region
from descriptors.cams import activation_maps
from descriptors.method import Method
from descriptors.regions import regions_to_try
from descriptors.settings import LayerSettings, RegionSettings
from tests.support.images import noise, rgb_image, shapes
from tests.support.tiny_network import (
    batch_of,
    tiny_method,
    tiny_settings,
)
from tests.support.tolerances import WHITENED

if TYPE_CHECKING:
    from PIL import Image

HITS = [shapes(64, 48, seed) for seed in range(1, 6)]
WHOLE_ONLY = RegionSettings(thresholds=(), n_classes=4)


@pytest.fixture(scope="module")
def method() -> Method:
    return tiny_method()


def encode(method: Method, images: list[Image.Image]) -> Encoded:
    return method.encoder.encode(batch_of(method.encoder, images))


def regions(**changes: Any) -> RegionSettings:
    small = {"n_classes": 4, "min_side": 12, "whole_image": False}
    return RegionSettings(**(small | changes))


class TestMatchRegions:
    def query(self, method: Method, settings: RegionSettings) -> QueryDescription:
        return method.describe_query(rgb_image(shapes(64, 48, 1)), settings)

    def test_an_image_matches_itself_best(self, method: Method) -> None:
        settings = regions(whole_image=True)
        matches = method.match_regions(self.query(method, settings), encode(method, HITS), settings)
        scores = [match.score for match in matches if match]
        assert len(scores) == 5
        assert scores[0] == max(scores) == pytest.approx(1, abs=1e-4)

    def test_score_is_the_highest_of_those_tried(self, method: Method) -> None:
        settings = regions(whole_image=True)
        query = self.query(method, settings)
        for match in method.match_regions(query, encode(method, HITS), settings):
            assert match is not None
            assert match.score == max(score for _, score in match.tried)
            assert match.region in [region for region, s in match.tried if s == match.score]
            cosine = float(match.descriptor @ query.region_descriptor)
            assert match.score == pytest.approx(cosine, abs=1e-5)
            assert float(match.descriptor.norm()) == pytest.approx(1, abs=1e-5)

    def test_the_whole_image_comes_along_where_it_was_tried(self, method: Method) -> None:
        settings = regions(whole_image=True)
        query, encoded = self.query(method, settings), encode(method, HITS)
        alone = method.match_regions(query, encoded, WHOLE_ONLY)
        different = 0
        for match, whole in zip(method.match_regions(query, encoded, settings), alone, strict=True):
            assert match is not None
            assert match.whole is not None
            assert whole is not None
            torch.testing.assert_close(match.whole, whole.descriptor, atol=1e-5, rtol=0)
            different += not torch.allclose(match.whole, match.descriptor, atol=1e-3)
        assert different
        never = method.match_regions(query, encoded, regions(thresholds=(0.4,)))
        assert any(match is not None and match.whole is None for match in never)

    def test_a_region_that_covers_every_cell_of_averaged_maps_is_the_whole_image(
        self, method: Method
    ) -> None:
        settings = regions(whole_image=True, thresholds=(0.3, 0.4, 0.5))
        query = self.query(method, settings)
        encoded = encode(method, [shapes(120, 120, seed) for seed in range(20)]).averaged()
        alone = method.match_regions(query, encoded, WHOLE_ONLY)
        matches = method.match_regions(query, encoded, settings)
        full = Region(0, 0, encoded.finest.width, encoded.finest.height)
        assert any(m is not None and full not in [r for r, _ in m.tried] for m in matches)
        for match, whole in zip(matches, alone, strict=True):
            assert match is not None
            assert match.whole is not None
            assert whole is not None
            torch.testing.assert_close(match.whole, whole.descriptor, atol=1e-5, rtol=0)

    def test_a_hit_without_a_usable_region_is_none_among_others(self, method: Method) -> None:
        """A region as wide as the whole image is found in some hits only."""
        settings = regions(thresholds=(0.3,), min_side=40)
        encoded = encode(method, HITS)
        matches = method.match_regions(self.query(method, settings), encoded, settings)
        found = [match is not None for match in matches]
        assert set(found) == {True, False}
        for i, expected in enumerate(found):
            alone = method.match_regions(
                self.query(method, settings), encoded[i : i + 1], settings
            )[0]
            assert (alone is not None) == expected

    def test_without_thresholds_the_whole_image_answers(self, method: Method) -> None:
        """That is OnA: the query's classes on every hit."""
        query, encoded = self.query(method, WHOLE_ONLY), encode(method, HITS)
        matches = method.match_regions(query, encoded, WHOLE_ONLY)
        online = method.describe_classes(encoded, query.classes[:4].expand(5, -1))[:, 0]
        for match, expected in zip(matches, online, strict=True):
            assert match is not None
            assert match.region == Region(0, 0, 16, 12)
            WHITENED.check(expected, match.descriptor)

    @pytest.mark.parametrize("order", [("mid", "last"), ("last", "mid")])
    def test_regions_are_cells_of_the_finest_layer_whatever_the_order(
        self, order: tuple[str, str]
    ) -> None:
        layers = tuple(LayerSettings(name=name, dims=6) for name in order)
        method = tiny_method(tiny_settings(layers=layers))
        matches = method.match_regions(
            self.query(method, WHOLE_ONLY), encode(method, HITS), WHOLE_ONLY
        )
        assert {match.region for match in matches if match} == {Region(0, 0, 16, 12)}

    def test_with_probability_weights_too(self) -> None:
        method = tiny_method(tiny_settings(probability_weights=True))
        settings = regions(whole_image=True)
        matches = method.match_regions(self.query(method, settings), encode(method, HITS), settings)
        assert matches[0] is not None
        assert matches[0].score == pytest.approx(1, abs=1e-3)

    def test_a_side_shorter_than_the_least_is_left_out_at_every_stride(self) -> None:
        """docs/method.md section 6: 80 pixels are 5 cells at stride 16; 2 of stride 32 are 64."""
        method = tiny_method(tiny_settings("paper"))
        encoded = encode(method, [noise(96, 64, seed) for seed in range(12)])
        classes = encoded.scores.argsort(dim=1, descending=True)[:, :2]
        settings = regions(min_side=20)  # two and a half cells of stride 8
        maps = activation_maps(encoded.evidence, method.encoder.weight, classes)
        for proposals in regions_to_try(encoded, maps, settings):
            for region in proposals:
                assert min(region.x1 - region.x0, region.y1 - region.y0) * 8 >= 20
