"""The method as a whole, on the tiny network."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from descriptors.aggregation import region_class_vectors
from descriptors.arrays import Box, Encoded, Size
from descriptors.errors import ArtifactError
from descriptors.learned import LearnedClasses
from descriptors.method import Method
from descriptors.settings import RegionSettings
from tests.support.checking import REFUSED
from tests.support.images import collection, gradient, rgb_image, shapes
from tests.support.tiny_network import (
    CLASSES,
    LAST_CHANNELS,
    batch_of,
    eight_bit,
    tiny_encoder,
    tiny_method,
    tiny_settings,
    tiny_whitening,
)
from tests.support.tolerances import MIN_COSINE, WHITENED

if TYPE_CHECKING:
    from PIL import Image

HITS = [shapes(64, 48, seed) for seed in range(1, 6)]


@pytest.fixture(scope="module")
def method() -> Method:
    return tiny_method()


def encode(method: Method, images: list[Image.Image]) -> Encoded:
    return method.encoder.encode(batch_of(method.encoder, images))


def regions(**changes: Any) -> RegionSettings:
    small = {"n_classes": 4, "min_side": 12, "whole_image": False}
    return RegionSettings(**(small | changes))


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

    def test_learned_classes_take_the_place_of_the_network_s_own(self) -> None:
        plain = tiny_method()
        own = LearnedClasses(plain.encoder.weight, plain.encoder.bias)
        three = LearnedClasses(plain.encoder.weight[:3], plain.encoder.bias[:3])
        same, fewer = (
            Method(plain.encoder, dataclasses.replace(plain.whitening, classes=classes))
            for classes in (own, three)
        )
        batch = batch_of(plain.encoder, HITS)
        expected = plain.describe_images(batch).descriptors
        torch.testing.assert_close(same.describe_images(batch).descriptors, expected)
        described = fewer.describe_images(batch)
        assert set(described.classes[0].tolist()) == {0, 1, 2}
        assert described.encoded.scores.shape == (len(HITS), 3)
        assert len({method.fingerprint() for method in (plain, same, fewer)}) == 3
        assert len(plain.encoder.weight) == CLASSES

    def test_classes_learned_from_other_channels_are_refused(self) -> None:
        method = tiny_method()
        classes = LearnedClasses(torch.rand(3, LAST_CHANNELS + 1), torch.zeros(3))
        with pytest.raises(ArtifactError, match=r"from 13 channels, and tiny has 12: .*fit"):
            Method(method.encoder, dataclasses.replace(method.whitening, classes=classes))

    def test_without_any_classes_it_is_refused(self) -> None:
        encoder = tiny_encoder()
        whitening = tiny_whitening(encoder)
        encoder.weight, encoder.bias = encoder.weight[:0], encoder.bias[:0]
        with pytest.raises(ArtifactError, match=r"no class labels.*--classes-from learned"):
            Method(encoder, whitening)

    def test_a_theme_the_network_does_not_know_is_refused_when_the_method_is_made(self) -> None:
        with pytest.raises(Exception, match="class"):
            tiny_method(tiny_settings(theme=(3, 10)))


class TestDescribeImages:
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
        query = method.describe_query(rgb_image(HITS[0]), regions())
        WHITENED.check(indexed.descriptors[0], query.descriptor)
        assert query.image == Size(64, 48)
        assert query.box is None

    def test_as_many_classes_as_the_larger_of_both_steps_needs(self, method: Method) -> None:
        query = method.describe_query(rgb_image(HITS[0]), regions(n_classes=7))
        assert query.classes.shape == (7,)
        again = method.describe_query(rgb_image(HITS[0]), regions(n_classes=2))
        assert query.classes.tolist()[:4] == again.classes.tolist()

    def test_a_box_around_everything_changes_nothing(self, method: Method) -> None:
        """Where the strides divide the working size; else the cut leaves out the last part of a cell."""
        whole = method.describe_query(rgb_image(HITS[0]), regions())
        boxed = method.describe_query(rgb_image(HITS[0]), regions(), Box(0, 0, 64, 48))
        WHITENED.check(whole.descriptor, boxed.descriptor)
        WHITENED.check(whole.region_descriptor, boxed.region_descriptor)
        assert torch.equal(whole.classes, boxed.classes)

    def test_a_box_counts_pixels_of_the_full_image(self, method: Method) -> None:
        small = gradient(64, 48)
        large = rgb_image(small.resize((640, 480)))
        query = method.describe_query(large, regions(), Box(320, 240, 640, 480))
        assert query.image == Size(640, 480)
        at_once = method.describe_query(rgb_image(small), regions(), Box(32, 24, 64, 48))
        assert query.descriptor @ at_once.descriptor > 0.8

    def test_the_theme_is_used_for_the_first_search(self) -> None:
        method = tiny_method(tiny_settings(theme=(5, 1)))
        query = method.describe_query(rgb_image(HITS[0]), regions())
        indexed = method.describe_images(batch_of(method.encoder, HITS[:1]))
        WHITENED.check(indexed.descriptors[0], query.descriptor)


class TestDescribeKeptQuery:
    def test_without_a_box_it_is_the_query(self, method: Method) -> None:
        fresh = method.describe_query(rgb_image(HITS[0]), regions())
        again = method.describe_kept_query(encode(method, HITS[:1]), Size(64, 48), regions())
        assert torch.equal(fresh.descriptor, again.descriptor)
        assert torch.equal(fresh.classes, again.classes)

    @pytest.mark.parametrize("box", [None, Box(16, 8, 56, 40)])
    def test_from_eight_bit_maps_it_is_nearly_the_same(
        self, method: Method, box: Box | None
    ) -> None:
        encoded = encode(method, HITS[:1])
        fresh = method.describe_kept_query(encoded, Size(64, 48), regions(), box)
        again = method.describe_kept_query(eight_bit(encoded), Size(64, 48), regions(), box)
        assert torch.equal(fresh.classes, again.classes)
        assert fresh.descriptor @ again.descriptor > MIN_COSINE

    def test_the_classes_of_a_box_come_from_the_evidence_in_it(self, method: Method) -> None:
        encoded = encode(method, HITS[:1])
        query = method.describe_kept_query(encoded, Size(64, 48), regions(), Box(32, 0, 64, 48))
        pooled = encoded.evidence.values()[0, :, :, 4:].mean(dim=(1, 2))
        scores = method.encoder.weight @ pooled + method.encoder.bias
        assert query.classes.tolist() == scores.argsort(descending=True)[:4].tolist()


class TestFeaturelessImages:
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
        query = method.describe_query(rgb_image(HITS[0]), regions(whole_image=True))
        for match in method.match_regions(query, encoded, regions(whole_image=True)):
            assert match is not None
            assert match.score == 0
