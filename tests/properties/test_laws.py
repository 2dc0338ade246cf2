"""Laws of the method that hold for all maps, vectors and boxes, not only for those tried by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from descriptors.aggregation import (
    active_share,
    aggregate,
    class_vectors,
    join_layers,
    region_windows,
)
from descriptors.arrays import Box, Encoded, FeatureMaps, Grid, Region, Size, region_of_box
from descriptors.cams import activation_maps, heat_map, resize_maps, top_classes
from descriptors.crow import cell_weights, channel_weights
from descriptors.expansion import expand
from descriptors.method import Method, region_class_vectors
from descriptors.regions import propose_regions
from descriptors.settings import RegionSettings
from descriptors.whitening import fit_layer
from tests.support.tiny_network import (
    CLASSES,
    LAST_CHANNELS,
    LAST_STRIDE,
    MID_CHANNELS,
    MID_STRIDE,
    tiny_method,
    tiny_settings,
)
from tests.support.tolerances import LEAST_COSINE, SAME_NUMBERS, UNIT, WHITENED

# The run-time check of annotations draws at random which list entries it looks at.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

METHODS = {preset: tiny_method(tiny_settings(preset)) for preset in ("default", "paper")}
REGIONS = RegionSettings(n_classes=3, least_side=4, whole_picture=True)

seeds = st.integers(0, 2**32 - 1)
presets = st.sampled_from(sorted(METHODS))
fills = st.sampled_from(["dense", "sparse", "one channel", "constant", "zero"])


def maps(seed: int, shape: tuple[int, ...], fill: str) -> torch.Tensor:
    """Non-negative maps ``B K H W`` of one kind."""
    random = np.random.default_rng(seed)
    values = random.random(shape)
    if fill == "sparse":
        values *= random.random(shape) > 0.9
    if fill == "one channel":
        values[:, 1:] = 0
    if fill == "constant":
        values[:] = random.random()
    if fill == "zero":
        values[:] = 0
    return torch.from_numpy(values.astype(np.float32))


@st.composite
def encodeds(draw: st.DrawFn, preset: str | None = None) -> Encoded:
    """What the tiny network might give for one or two pictures, of any shape and kind."""
    batch, width, height = draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    seed = draw(seeds)
    evidence = _layer(seed, (batch, LAST_CHANNELS, height, width), draw(fills), LAST_STRIDE)
    features: tuple[FeatureMaps, ...] = (evidence,)
    if preset == "default":
        shape = (batch, MID_CHANNELS, 2 * height, 2 * width)
        features = (_layer(seed + 1, shape, draw(fills), MID_STRIDE), evidence)
    encoder = METHODS["default"].encoder
    scores = evidence.levels.mean(dim=(2, 3)) @ encoder.weight.T + encoder.bias
    return Encoded(features, evidence, scores, Size(width * LAST_STRIDE, height * LAST_STRIDE))


def _layer(seed: int, shape: tuple[int, ...], fill: str, stride: int) -> FeatureMaps:
    return FeatureMaps(maps(seed, shape, fill), torch.ones(shape[:2]), stride)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Method, Encoded]:
    """A method of one preset and maps for it."""
    preset = draw(presets)
    return METHODS[preset], draw(encodeds(preset))


def each(encoded: Encoded, change: object) -> Encoded:
    """All maps changed, evidence that is a layer staying so."""
    done = {id(m): change(m) for m in (*encoded.features, encoded.evidence)}
    features = tuple(done[id(m)] for m in encoded.features)
    return dataclasses.replace(encoded, features=features, evidence=done[id(encoded.evidence)])


def all_finite(*tensors: torch.Tensor) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


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
            assert ((a * b).sum(dim=-1)[alive] > LEAST_COSINE).all()
            assert all_finite(b)

    @given(situations())
    def test_of_the_whole_picture_as_a_region_are_those_of_the_picture(
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
    def test_cutting_the_whole_picture_is_the_identity(self, seed: int, fill: str) -> None:
        layer = _layer(seed, (1, 3, 4, 6), fill, 8)
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
        """METHOD section 4: features and CAMs are cut, then everything happens within the cut."""
        random = np.random.default_rng(seed)
        layer = _layer(seed, (1, 4, 8, 9), fill, 8)
        x0, y0 = int(random.integers(0, 10 - width)), int(random.integers(0, 9 - height))
        region = Region(x0, y0, x0 + width, y0 + height)
        cams = maps(seed + 1, (1, 2, 8, 9), "dense")
        windows = region_windows(torch.tensor([[region]]), 8, 9, centring=centring)
        cut, part = layer.cut(region), cams[:, :, y0 : y0 + height, x0 : x0 + width]
        by_window = class_vectors(
            layer,
            (cams + 0.1)[:, None] * windows[:, :, None],
            channel_weights(active_share(layer, windows > 0)),
        )
        by_cut = class_vectors(
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
        evidence = _layer(1, (1, LAST_CHANNELS, height, width), "sparse", LAST_STRIDE)
        mid = _layer(2, (1, MID_CHANNELS, 2 * height, 2 * width), "sparse", MID_STRIDE)
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


class TestRegions:
    THRESHOLDS = (0.0, 0.01, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9)

    @given(seeds, fills, st.integers(1, 12), st.integers(1, 12))
    def test_lie_in_the_map_and_are_never_empty(
        self, seed: int, fill: str, width: int, height: int
    ) -> None:
        heat = maps(seed, (2, 1, height, width), fill)[:, 0]
        for regions in propose_regions(heat, self.THRESHOLDS, 1):
            assert len(set(regions)) == len(regions)
            for x0, y0, x1, y1 in regions:
                assert 0 <= x0 < x1 <= width
                assert 0 <= y0 < y1 <= height
            if fill in ("dense", "constant"):
                assert regions

    @given(seeds, st.integers(2, 12), st.integers(2, 12))
    def test_of_one_hill_a_higher_threshold_lies_inside_a_lower_one(
        self, seed: int, width: int, height: int
    ) -> None:
        """With one peak every component is a part of the one below it."""
        random = np.random.default_rng(seed)
        x, y = np.arange(width)[None, :], np.arange(height)[:, None]
        away = abs(x - random.integers(0, width)) + abs(y - random.integers(0, height))
        heat = torch.from_numpy(np.exp(-away / 3.0).astype(np.float32))[None]
        (regions,) = propose_regions(heat, self.THRESHOLDS, 1)
        for outer, inner in zip(regions, regions[1:], strict=False):
            assert outer.x0 <= inner.x0
            assert outer.y0 <= inner.y0
            assert inner.x1 <= outer.x1
            assert inner.y1 <= outer.y1

    @given(seeds, fills)
    def test_every_component_lies_inside_one_of_a_lower_threshold(
        self, seed: int, fill: str
    ) -> None:
        """For any map: the box of a component at t lies in the box of its component below t."""
        heat = maps(seed, (1, 1, 8, 9), fill)[0, 0]
        for lower, higher in zip(self.THRESHOLDS, self.THRESHOLDS[1:], strict=False):
            (above,) = propose_regions(heat[None], (higher,), 1)
            for region in above:
                at = torch.zeros_like(heat)
                at[region.y0 : region.y1, region.x0 : region.x1] = 1
                part = torch.where(at > 0, heat, 0.0)
                (below,) = propose_regions(part[None], (lower,), 1)
                assert below, "what lies above the higher threshold lies above the lower one"

    @given(seeds, fills, st.integers(1, 4))
    def test_scaling_the_heat_changes_no_region(self, seed: int, fill: str, power: int) -> None:
        heat = maps(seed, (1, 1, 8, 9), fill)[:, 0]
        scaled = heat * 2.0**-power  # a power of two, so that no rounding moves a threshold
        assert propose_regions(scaled, self.THRESHOLDS, 2) == propose_regions(
            heat, self.THRESHOLDS, 2
        )

    @given(seeds, fills)
    def test_the_mean_of_maps_is_a_map(self, seed: int, fill: str) -> None:
        heat = heat_map(maps(seed, (2, 5, 4, 4), fill), 2)
        assert all_finite(heat)
        assert heat.min() >= 0
        assert heat.max() <= 1


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, Size, Grid]:
    """A picture, the grid of its map, and a box in it with area."""
    width, height = draw(st.integers(16, 4000)), draw(st.integers(16, 4000))
    stride = draw(st.sampled_from([4, 8, 16, 32]))
    working = [draw(st.integers(stride, 1024)) for _ in (0, 1)]
    grid = Grid(*(math.ceil(w / stride) for w in working), *(w / stride for w in working))
    xs = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    ys = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    return Box(xs[0], ys[0], xs[1], ys[1]), Size(width, height), grid


class TestBoxes:
    @given(boxes())
    @example((Box(0, 0, 67, 48), Size(67, 48), Grid(9, 6, 67 / 8, 6.0)))
    @example((Box(66.999, 47.999, 67, 48), Size(67, 48), Grid(9, 6, 67 / 8, 6.0)))
    def test_become_regions_that_are_never_empty_and_move_no_edge_by_a_cell(
        self, situation: tuple[Box, Size, Grid]
    ) -> None:
        box, picture, grid = situation
        region = region_of_box(box, picture, grid)
        assert 0 <= region.x0 < region.x1 <= grid.width
        assert 0 <= region.y0 < region.y1 <= grid.height
        across, down = grid.across / picture.width, grid.down / picture.height
        exact = (box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)
        for edge, at in zip(region, exact, strict=True):
            # A box thinner than rounding can tell stands at a border of cells: 1 and no more.
            assert abs(edge - at) < 1 + 1e-6

    @given(boxes())
    def test_lie_inside_after_being_cut_to_the_picture(
        self, situation: tuple[Box, Size, Grid]
    ) -> None:
        box, picture, _ = situation
        grown = Box(box.x0 - 5, box.y0 - 5, box.x1 + 5, box.y1 + 5).inside(picture)
        assert 0 <= grown.x0 < grown.x1 <= picture.width
        assert 0 <= grown.y0 < grown.y1 <= picture.height
        assert box.inside(picture) == box


class TestVectors:
    @given(seeds, st.integers(3, 12), st.integers(1, 3))
    def test_whitening_its_own_fit_data_gives_unit_covariance(
        self, seed: int, channels: int, orders: int
    ) -> None:
        """Before the l2; along axes up to thousands of times shorter than the longest."""
        random = np.random.default_rng(seed)
        spread = np.geomspace(1, 10.0**-orders, channels)
        turned = np.linalg.qr(random.standard_normal((channels, channels)))[0]
        rows = (random.standard_normal((200, channels)) * spread) @ turned + 0.5
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        fitted = fit_layer(rows, channels - 1)
        centred = rows.astype(float) - fitted.mean.double().numpy()
        white = centred @ fitted.projection.double().numpy().T
        np.testing.assert_allclose(np.cov(white.T), np.eye(channels - 1), atol=2e-3)
        assert abs(white.mean(axis=0)).max() < 2e-3

    @given(seeds, st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def test_expansion_is_unit_and_with_nothing_the_identity(
        self, seed: int, count: int, alpha: float
    ) -> None:
        random = np.random.default_rng(seed)
        rows = torch.from_numpy(random.standard_normal((count + 1, 6)).astype(np.float32))
        rows = rows / rows.norm(dim=1, keepdim=True)
        expanded = expand(rows[0], rows[1:], alpha)
        assert abs(float(expanded.norm()) - 1) < UNIT
        if count == 0:
            SAME_NUMBERS.check(rows[0], expanded)

    @given(seed=seeds, count=st.integers(1, 6), zero=st.booleans())
    def test_sums_are_unit_or_zero_in_any_order(
        self, seed: int, count: int, *, zero: bool
    ) -> None:
        random = np.random.default_rng(seed)
        rows = torch.from_numpy(random.standard_normal((2, count, 5)).astype(np.float32))
        rows = torch.zeros_like(rows) if zero else rows / rows.norm(dim=2, keepdim=True)
        total = aggregate(rows)
        SAME_NUMBERS.check(total, aggregate(rows.flip(1)))
        joined = join_layers([total, total])
        expected = 0.0 if zero else 1.0
        for lengths in (total.norm(dim=1), joined.norm(dim=1)):
            assert (lengths - expected).abs().max() < UNIT

    @given(seeds, fills)
    def test_channel_weights_are_finite_and_never_negative(self, seed: int, fill: str) -> None:
        layer = _layer(seed, (2, 4, 3, 3), fill, 8)
        weights = channel_weights(active_share(layer, None))
        assert all_finite(weights)
        assert weights.min() >= 0
