"""Laws of the method that hold for all maps, vectors and boxes, not only for those tried by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from descriptors.aggregation import (
    active_share,
    channel_weights,
    region_class_vectors,
    region_windows,
)
from descriptors.arrays import Encoded, FeatureMaps, Region, Size
from descriptors.cams import activation_maps, resize_maps, top_classes
from descriptors.method import Method
from tests.properties.situations import (
    METHODS,
    REGIONS,
    all_finite,
    each,
    encodeds,
    fills,
    layer_of,
    maps,
    seeds,
    situations,
)
from tests.support.cells import cell_weights, class_vectors_of
from tests.support.tiny_network import (
    CLASSES,
    LAST_CHANNELS,
    LAST_STRIDE,
    MID_CHANNELS,
    MID_STRIDE,
)
from tests.support.tolerances import MIN_COSINE, SAME_NUMBERS, UNIT, WHITENED

# The run-time check of annotations draws at random which list entries it looks at.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


class TestDescriptors:
    @given(situations())
    def test_are_unit_or_zero_and_never_nan(self, situation: tuple[Method, Encoded]) -> None:
        method, encoded = situation
        described = method.describe_encoded(encoded)
        assert all_finite(described.descriptors, described.probabilities)
        for length in described.descriptors.norm(dim=1).tolist():
            assert length == 0 or abs(length - 1) < UNIT

    @given(situations(), seeds)
    def test_the_order_of_classes_does_not_matter(
        self, situation: tuple[Method, Encoded], seed: int
    ) -> None:
        method, encoded = situation
        classes = top_classes(encoded.scores, 5)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(5))
        one = method.describe_classes(encoded, classes)
        other = method.describe_classes(encoded, classes[:, order])
        WHITENED.check(one, other)

    @given(situations(), st.floats(1e-3, 1e3))
    def test_scaling_all_maps_changes_nothing(
        self, situation: tuple[Method, Encoded], factor: float
    ) -> None:
        method, encoded = situation
        classes = top_classes(encoded.scores, 4)
        scaled = each(encoded, lambda m: dataclasses.replace(m, levels=m.levels * factor))
        one = method.describe_classes(encoded, classes)
        other = method.describe_classes(scaled, classes)
        assert (one * other).sum(dim=-1).min() > 1 - 1e-3 or not one.any()

    @given(situations(), st.floats(0.01, 100))
    def test_a_scale_beside_the_levels_is_a_factor_in_them(
        self, situation: tuple[Method, Encoded], factor: float
    ) -> None:
        method, encoded = situation
        classes = top_classes(encoded.scores, 4)
        beside = each(encoded, lambda m: dataclasses.replace(m, scale=m.scale * factor))
        within = each(encoded, lambda m: dataclasses.replace(m, levels=m.levels * factor))
        one, other = (region_class_vectors(method.encoder, e, classes) for e in (beside, within))
        for a, b in zip(one, other, strict=True):
            SAME_NUMBERS.check(a, b)

    @given(situations())
    def test_kept_levels_of_eight_bit_give_nearly_the_same(
        self, situation: tuple[Method, Encoded]
    ) -> None:
        method, encoded = situation
        classes = top_classes(encoded.scores, 4)
        one = region_class_vectors(method.encoder, encoded, classes)
        other = region_class_vectors(method.encoder, each(encoded, _kept), classes)
        for a, b in zip(one, other, strict=True):
            alive = a.norm(dim=-1) > 0
            assert ((a * b).sum(dim=-1)[alive] > MIN_COSINE).all()
            assert all_finite(b)

    @given(situations())
    def test_of_the_whole_image_as_a_region_are_those_of_the_image(
        self, situation: tuple[Method, Encoded]
    ) -> None:
        """Cutting the whole image is the identity."""
        method, encoded = situation
        classes = top_classes(encoded.scores, 3)
        whole = tuple(
            torch.tensor([[[0, 0, m.levels.shape[3], m.levels.shape[2]]]]).expand(
                len(encoded), 1, 4
            )
            for m in encoded.features
        )
        one = region_class_vectors(method.encoder, encoded, classes)
        other = region_class_vectors(method.encoder, encoded, classes, whole)
        for a, b in zip(one, other, strict=True):
            SAME_NUMBERS.check(a, b)

    @given(situations(), seeds)
    def test_matched_regions_permute_with_the_hits(
        self, situation: tuple[Method, Encoded], seed: int
    ) -> None:
        """Which hit stands where in a batch has no say in its region or score."""
        method, encoded = situation
        assume(len(encoded) == 2)
        query = _query(method, encoded, seed)
        there = method.match_regions(query, encoded, REGIONS)
        back = method.match_regions(query, each(encoded, _reversed), REGIONS)[::-1]
        for a, b in zip(there, back, strict=True):
            assert (a is None) == (b is None)
            if a and b:
                assert [region for region, _ in a.tried] == [region for region, _ in b.tried]
                assert a.score == pytest.approx(b.score, abs=1e-3)

    @given(situations(), seeds)
    def test_the_order_of_regions_does_not_matter(
        self, situation: tuple[Method, Encoded], seed: int
    ) -> None:
        method, encoded = situation
        random = np.random.default_rng(seed)
        classes = top_classes(encoded.scores, 3)
        cuts = [_random_regions(random, m, count=4) for m in encoded.features]
        order = torch.from_numpy(random.permutation(4))
        one = method.describe_classes(encoded, classes, tuple(cuts))
        other = method.describe_classes(encoded, classes, tuple(c[:, order] for c in cuts))
        WHITENED.check(one[:, order], other)


def _query(method: Method, encoded: Encoded, seed: int) -> object:
    from descriptors.arrays import QueryDescription

    random = np.random.default_rng(seed)
    vector = random.standard_normal(method.settings.dims).astype(np.float32)
    unit = torch.from_numpy(vector / np.linalg.norm(vector))
    classes = torch.from_numpy(random.permutation(CLASSES))
    return QueryDescription(unit, unit, classes, encoded.working, None)


def _reversed(m: FeatureMaps) -> FeatureMaps:
    return dataclasses.replace(m, levels=m.levels.flip(0), scale=m.scale.flip(0))


def _random_regions(random: np.random.Generator, m: FeatureMaps, count: int) -> torch.Tensor:
    batch, _, height, width = m.levels.shape
    x0, y0 = random.integers(0, width, (batch, count)), random.integers(0, height, (batch, count))
    x1, y1 = random.integers(x0, width) + 1, random.integers(y0, height) + 1
    return torch.from_numpy(np.stack([x0, y0, x1, y1], axis=2))


def _kept(m: FeatureMaps) -> FeatureMaps:
    scale = m.levels.amax(dim=(2, 3)).clamp_min(1e-9) / 255
    levels = (m.levels / scale[:, :, None, None]).round().to(torch.uint8)
    # An activation below half a level is lost with its share of active cells.
    levels = torch.where((m.levels > 0) & (levels == 0), 1, levels)
    return FeatureMaps(levels, scale, m.stride)


class TestMaps:
    @given(encodeds())
    def test_lie_between_zero_and_one(self, encoded: Encoded) -> None:
        classes = top_classes(encoded.scores, CLASSES)
        found = activation_maps(encoded.evidence, METHODS["paper"].encoder.weight, classes)
        assert found.min() >= 0
        assert found.max() <= 1
        tops = found.amax(dim=(2, 3)).flatten().tolist()
        assert all(top == 0 or abs(top - 1) < 1e-6 for top in tops)
        resized = resize_maps(found, 7, 5)
        assert all_finite(found, resized)
        assert resized.min() >= 0
        assert resized.max() <= 1

    @given(seeds, fills)
    def test_cutting_the_whole_image_is_the_identity(self, seed: int, fill: str) -> None:
        layer = layer_of(seed, (1, 3, 4, 6), fill, 8)
        assert torch.equal(layer.cut(Region(0, 0, 6, 4)).levels, layer.levels)

    @given(
        seed=seeds,
        fill=fills,
        width=st.integers(1, 7),
        height=st.integers(1, 7),
        centring=st.booleans(),
    )
    def test_a_window_is_a_cut(
        self, seed: int, fill: str, width: int, height: int, *, centring: bool
    ) -> None:
        """Features and CAMs are cut, then all happens in the cut: docs/method.md section 4."""
        random = np.random.default_rng(seed)
        layer = layer_of(seed, (1, 4, 8, 9), fill, 8)
        x0, y0 = int(random.integers(0, 10 - width)), int(random.integers(0, 9 - height))
        region = Region(x0, y0, x0 + width, y0 + height)
        cams = maps(seed + 1, (1, 2, 8, 9), "dense")
        windows = region_windows(torch.tensor([[region]]), 8, 9, centring=centring)
        cut, part = layer.cut(region), cams[:, :, y0 : y0 + height, x0 : x0 + width]
        by_window = class_vectors_of(
            layer,
            (cams + 0.1)[:, None] * windows[:, :, None],
            channel_weights(active_share(layer, windows > 0)),
        )
        by_cut = class_vectors_of(
            cut,
            cell_weights(part, 0.1, centring=centring)[:, None],
            channel_weights(active_share(cut, None)),
        )
        SAME_NUMBERS.check(by_cut, by_window)

    @pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 60)])
    def test_a_long_region_counts_all_its_cells(self, shape: tuple[int, int]) -> None:
        """Channel weights come from every cell of the cut, also where the prior is next to 0."""
        height, width = shape
        method = METHODS["default"]
        evidence = layer_of(1, (1, LAST_CHANNELS, height, width), "sparse", LAST_STRIDE)
        mid = layer_of(2, (1, MID_CHANNELS, 2 * height, 2 * width), "sparse", MID_STRIDE)
        encoded = Encoded(
            (mid, evidence), evidence, torch.zeros(1, CLASSES), Size(width * 8, height * 8)
        )
        classes = torch.tensor([[0, 1]])
        whole = tuple(
            torch.tensor([[[0, 0, m.levels.shape[3], m.levels.shape[2]]]]) for m in encoded.features
        )
        one = region_class_vectors(method.encoder, encoded, classes)
        other = region_class_vectors(method.encoder, encoded, classes, whole)
        for a, b in zip(one, other, strict=True):
            SAME_NUMBERS.check(a, b)
