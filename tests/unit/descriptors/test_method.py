"""The method as a whole, on the tiny network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from descriptors.arrays import Box, Encoded, FeatureMaps, QueryDescription, Region, Size
from descriptors.errors import ArtifactError, RequestError
from descriptors.method import Method, region_class_vectors
from descriptors.settings import LayerSettings, MethodSettings, RegionSettings
from tests.support.checking import REFUSED
from tests.support.pictures import collection, gradient, noise, picture, shapes
from tests.support.tiny_network import (
    batch_of,
    tiny_encoder,
    tiny_method,
    tiny_settings,
    tiny_whitening,
)
from tests.support.tolerances import LEAST_COSINE, WHITENED

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
    small = {"n_classes": 4, "least_side": 12, "whole_picture": False}
    return RegionSettings(**(small | changes))


def kept(encoded: Encoded) -> Encoded:
    """As kept maps come back: levels of 8 bit with a scale a picture and channel."""

    def pack(maps: FeatureMaps) -> FeatureMaps:
        values = maps.values()
        scale = values.amax(dim=(2, 3)).clamp_min(1e-9) / 255
        levels = (values / scale[:, :, None, None]).round().to(torch.uint8)
        return FeatureMaps(levels, scale, maps.stride)

    packed = {id(maps): pack(maps) for maps in (*encoded.features, encoded.evidence)}
    features = tuple(packed[id(maps)] for maps in encoded.features)
    return dataclasses.replace(encoded, features=features, evidence=packed[id(encoded.evidence)])


class TestConstruction:
    def test_a_whitening_of_other_settings_is_refused(self) -> None:
        whitening = tiny_whitening(tiny_encoder())
        with pytest.raises(ArtifactError, match=r"other settings .*camsearch fit"):
            Method(tiny_encoder(tiny_settings(power=1)), whitening)

    def test_a_whitening_of_other_weights_is_refused(self) -> None:
        with pytest.raises(ArtifactError, match="other weights of tiny"):
            Method(tiny_encoder(seed=1), tiny_whitening(tiny_encoder()))

    def test_what_comes_after_the_whitening_may_differ(self) -> None:
        whitening = tiny_whitening(tiny_encoder())
        Method(tiny_encoder(tiny_settings(n_classes=2, n_pca=3)), whitening)

    def test_the_fingerprint_changes_with_settings_weights_and_whitening(self) -> None:
        method = tiny_method()
        assert method.fingerprint() == tiny_method().fingerprint()
        assert len(method.fingerprint()) == 64
        other_fit = tiny_whitening(method.encoder, collection(32, seed=9))
        others = [
            tiny_method(tiny_settings(n_classes=5)),
            tiny_method(seed=1),
            Method(method.encoder, other_fit),
        ]
        prints = {each.fingerprint() for each in (method, *others)}
        assert len(prints) == 4

    @pytest.mark.parametrize("theme", [(10,), (3, 99)])
    def test_a_theme_the_network_does_not_know_is_refused(self, theme: tuple[int, ...]) -> None:
        """When it is made, not in the middle of an index."""
        with pytest.raises(Exception, match="class"):
            tiny_method(tiny_settings(theme=theme))


class TestDescribeImages:
    def test_shapes(self, method: Method) -> None:
        described = method.describe_images(batch_of(method.encoder, HITS))
        assert described.descriptors.shape == (5, 14)
        assert described.classes.shape == described.probabilities.shape == (5, 4)

    def test_unit_best_first_probabilities_of_all_classes(self, method: Method) -> None:
        described = method.describe_images(batch_of(method.encoder, HITS))
        torch.testing.assert_close(described.descriptors.norm(dim=1), torch.ones(5))
        assert (described.probabilities.diff(dim=1) <= 0).all()
        assert (described.probabilities.sum(dim=1) < 1).all()
        softmax = described.encoded.scores.softmax(dim=1)
        assert torch.equal(described.probabilities, softmax.gather(1, described.classes))

    def test_more_classes_than_there_are_is_all_of_them(self) -> None:
        method = tiny_method(tiny_settings(n_classes=64))
        described = method.describe_images(batch_of(method.encoder, HITS))
        assert described.classes.shape == (5, 10)

    def test_a_theme_stands_for_the_best_classes(self) -> None:
        method = tiny_method(tiny_settings(theme=(5, 1)))
        described = method.describe_images(batch_of(method.encoder, HITS))
        assert described.classes.tolist() == [[5, 1]] * 5
        fixed = torch.tensor([[5, 1]]).expand(5, -1)
        by_hand = method.describe_classes(described.encoded, fixed)[:, 0]
        assert torch.equal(described.descriptors, by_hand)

    def test_probability_weights_weigh_each_class(self) -> None:
        """One layer: l2 of the sum of sqrt(p) x whitened class vector."""
        settings = tiny_settings("paper", probability_weights=True)
        method = tiny_method(settings)
        described = method.describe_images(batch_of(method.encoder, HITS))
        (vectors,) = region_class_vectors(method.encoder, described.encoded, described.classes)
        whitened = method.whitening.layers[0](vectors[:, 0])
        total = (described.probabilities.sqrt().unsqueeze(2) * whitened).sum(dim=1)
        expected = total / total.norm(dim=1, keepdim=True)
        WHITENED.check(expected, described.descriptors)

    def test_bad_input(self, method: Method) -> None:
        with pytest.raises(REFUSED):
            method.describe_images(torch.zeros(3, 64, 64, dtype=torch.uint8))


class TestDescribeQuery:
    def test_without_a_box_it_is_the_indexed_descriptor(self, method: Method) -> None:
        indexed = method.describe_images(batch_of(method.encoder, HITS[:1]))
        query = method.describe_query(picture(HITS[0]), regions())
        WHITENED.check(indexed.descriptors[0], query.descriptor)
        assert query.picture == Size(64, 48)
        assert query.box is None

    def test_as_many_classes_as_the_larger_of_both_steps_needs(self, method: Method) -> None:
        query = method.describe_query(picture(HITS[0]), regions(n_classes=7))
        assert query.classes.shape == (7,)
        again = method.describe_query(picture(HITS[0]), regions(n_classes=2))
        assert query.classes.tolist()[:4] == again.classes.tolist()

    def test_a_box_around_everything_changes_nothing(self, method: Method) -> None:
        """Where the strides divide the working size; else METHOD cuts the last part of a cell."""
        whole = method.describe_query(picture(HITS[0]), regions())
        boxed = method.describe_query(picture(HITS[0]), regions(), Box(0, 0, 64, 48))
        WHITENED.check(whole.descriptor, boxed.descriptor)
        WHITENED.check(whole.region_descriptor, boxed.region_descriptor)
        assert torch.equal(whole.classes, boxed.classes)

    def test_a_box_beyond_the_picture_is_cut_to_it(self, method: Method) -> None:
        inside = method.describe_query(picture(HITS[0]), regions(), Box(32, 24, 64, 48))
        beyond = method.describe_query(picture(HITS[0]), regions(), Box(32, 24, 640, 480))
        WHITENED.check(inside.descriptor, beyond.descriptor)

    def test_a_box_counts_pixels_of_the_full_picture(self, method: Method) -> None:
        small = gradient(64, 48)
        large = picture(small.resize((640, 480)))
        query = method.describe_query(large, regions(), Box(320, 240, 640, 480))
        assert query.picture == Size(640, 480)
        at_once = method.describe_query(picture(small), regions(), Box(32, 24, 64, 48))
        assert query.descriptor @ at_once.descriptor > 0.8

    def test_a_tiny_box_is_one_cell(self, method: Method) -> None:
        query = method.describe_query(picture(HITS[0]), regions(), Box(30.1, 20.1, 30.2, 20.2))
        assert torch.isfinite(query.descriptor).all()

    def test_a_box_outside_is_refused(self, method: Method) -> None:
        with pytest.raises(RequestError, match="outside"):
            method.describe_query(picture(HITS[0]), regions(), Box(64, 0, 90, 48))

    def test_the_theme_is_used_for_the_first_search(self) -> None:
        method = tiny_method(tiny_settings(theme=(5, 1)))
        query = method.describe_query(picture(HITS[0]), regions())
        indexed = method.describe_images(batch_of(method.encoder, HITS[:1]))
        WHITENED.check(indexed.descriptors[0], query.descriptor)


class TestDescribeKeptQuery:
    def test_without_a_box_it_is_the_query(self, method: Method) -> None:
        fresh = method.describe_query(picture(HITS[0]), regions())
        again = method.describe_kept_query(encode(method, HITS[:1]), Size(64, 48), regions())
        assert torch.equal(fresh.descriptor, again.descriptor)
        assert torch.equal(fresh.classes, again.classes)

    @pytest.mark.parametrize("box", [None, Box(16, 8, 56, 40)])
    def test_from_eight_bit_maps_it_is_nearly_the_same(
        self, method: Method, box: Box | None
    ) -> None:
        encoded = encode(method, HITS[:1])
        fresh = method.describe_kept_query(encoded, Size(64, 48), regions(), box)
        again = method.describe_kept_query(kept(encoded), Size(64, 48), regions(), box)
        assert torch.equal(fresh.classes, again.classes)
        assert fresh.descriptor @ again.descriptor > LEAST_COSINE

    def test_the_classes_of_a_box_come_from_the_evidence_in_it(self, method: Method) -> None:
        encoded = encode(method, HITS[:1])
        query = method.describe_kept_query(encoded, Size(64, 48), regions(), Box(32, 0, 64, 48))
        pooled = encoded.evidence.values()[0, :, :, 4:].mean(dim=(1, 2))
        scores = method.encoder.weight @ pooled + method.encoder.bias
        assert query.classes.tolist() == scores.argsort(descending=True)[:4].tolist()


class TestMatchRegions:
    def query(self, method: Method, settings: RegionSettings) -> QueryDescription:
        return method.describe_query(picture(shapes(64, 48, 1)), settings)

    def test_a_picture_matches_itself_best(self, method: Method) -> None:
        settings = regions(whole_picture=True)
        matches = method.match_regions(self.query(method, settings), encode(method, HITS), settings)
        scores = [match.score for match in matches if match]
        assert len(scores) == 5
        assert scores[0] == max(scores) == pytest.approx(1, abs=1e-4)

    def test_score_is_the_highest_of_those_tried(self, method: Method) -> None:
        settings = regions(whole_picture=True)
        query = self.query(method, settings)
        for match in method.match_regions(query, encode(method, HITS), settings):
            assert match is not None
            assert match.score == max(score for _, score in match.tried)
            assert match.region in [region for region, s in match.tried if s == match.score]
            cosine = float(match.descriptor @ query.region_descriptor)
            assert match.score == pytest.approx(cosine, abs=1e-5)
            assert float(match.descriptor.norm()) == pytest.approx(1, abs=1e-5)

    def test_a_hit_without_a_usable_region_is_none_among_others(self, method: Method) -> None:
        """A region as wide as the whole picture is found in some hits only."""
        settings = regions(thresholds=(0.3,), least_side=40)
        encoded = encode(method, HITS)
        matches = method.match_regions(self.query(method, settings), encoded, settings)
        found = [match is not None for match in matches]
        assert set(found) == {True, False}
        for i, expected in enumerate(found):
            alone = method.match_regions(
                self.query(method, settings), encoded[i : i + 1], settings
            )[0]
            assert (alone is not None) == expected

    def test_no_region_in_any_hit(self, method: Method) -> None:
        settings = regions(least_side=1000)
        matches = method.match_regions(self.query(method, settings), encode(method, HITS), settings)
        assert matches == [None] * 5

    def test_a_hit_alone_or_among_others_gives_the_same(self, method: Method) -> None:
        settings = regions(whole_picture=True)
        query, encoded = self.query(method, settings), encode(method, HITS)
        together = method.match_regions(query, encoded, settings)
        for i, match in enumerate(together):
            alone = method.match_regions(query, encoded[i : i + 1], settings)[0]
            assert match is not None
            assert alone is not None
            assert match.region == alone.region
            assert len(match.tried) == len(alone.tried)
            WHITENED.check(alone.descriptor, match.descriptor)

    def test_without_thresholds_the_whole_picture_answers(self, method: Method) -> None:
        """That is OnA: the query's classes on every hit."""
        query, encoded = self.query(method, WHOLE_ONLY), encode(method, HITS)
        matches = method.match_regions(query, encoded, WHOLE_ONLY)
        online = method.describe_classes(encoded, query.classes[:4].expand(5, -1))[:, 0]
        for match, expected in zip(matches, online, strict=True):
            assert match is not None
            assert match.region == Region(0, 0, 16, 12)
            WHITENED.check(expected, match.descriptor)

    def test_eight_bit_maps_give_nearly_the_same_scores(self, method: Method) -> None:
        query, encoded = self.query(method, WHOLE_ONLY), encode(method, HITS)
        fresh = method.match_regions(query, encoded, WHOLE_ONLY)
        again = method.match_regions(query, kept(encoded), WHOLE_ONLY)
        for one, other in zip(fresh, again, strict=True):
            assert one is not None
            assert other is not None
            assert float(one.descriptor @ other.descriptor) > LEAST_COSINE

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
        settings = regions(whole_picture=True)
        matches = method.match_regions(self.query(method, settings), encode(method, HITS), settings)
        assert matches[0] is not None
        assert matches[0].score == pytest.approx(1, abs=1e-3)

    def test_a_side_shorter_than_the_least_is_left_out_at_every_stride(self) -> None:
        """METHOD section 6: 5 cells at stride 16 are 80 pixels; at stride 32 two cells are 64."""
        method = tiny_method(tiny_settings("paper"))
        encoded = encode(method, [noise(96, 64, seed) for seed in range(12)])
        classes = encoded.scores.argsort(dim=1, descending=True)[:, :2]
        settings = regions(least_side=20)  # two and a half cells of stride 8
        for proposals in method.propose_regions(encoded, classes, settings):
            for region in proposals:
                assert min(region.x1 - region.x0, region.y1 - region.y0) * 8 >= 20


class TestFeaturelessPictures:
    """Maps without any activation: a zero row, never NaN."""

    @pytest.mark.parametrize("preset", ["default", "paper"])
    def test_give_zero_descriptors(self, preset: str) -> None:
        method = tiny_method(tiny_settings(preset))
        encoded = encode(method, HITS[:2])
        blank = {
            id(maps): dataclasses.replace(maps, levels=torch.zeros_like(maps.levels))
            for maps in (*encoded.features, encoded.evidence)
        }
        features = tuple(blank[id(maps)] for maps in encoded.features)
        encoded = dataclasses.replace(
            encoded, features=features, evidence=blank[id(encoded.evidence)]
        )
        described = method.describe_encoded(encoded)
        assert not described.descriptors.any()
        query = method.describe_query(picture(HITS[0]), regions(whole_picture=True))
        for match in method.match_regions(query, encoded, regions(whole_picture=True)):
            assert match is not None
            assert match.score == 0

    def test_a_picture_of_one_row_of_cells(self) -> None:
        settings = MethodSettings(
            **(tiny_settings().model_dump() | {"side": 32, "side_multiple": 4})
        )
        method = tiny_method()
        encoder = tiny_encoder(settings)
        tall = Method(
            encoder, dataclasses.replace(method.whitening, vector_digest=settings.vector_digest())
        )
        described = tall.describe_images(batch_of(encoder, [shapes(300, 20, 3)]))
        assert described.encoded.features[0].levels.shape[2:] == (1, 8)
        assert torch.isfinite(described.descriptors).all()
