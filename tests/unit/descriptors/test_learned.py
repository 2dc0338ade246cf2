"""Classes learned from images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from descriptors.arrays import Encoded, Size
from descriptors.cams import class_scores
from descriptors.class_patches import PATCHES, ClassPatches, contact_sheet
from descriptors.errors import RequestError
from descriptors.learned import ClassFit, LearnedClasses
from tests.support.images import collection
from tests.support.tiny_network import batch_of, feature_maps, tiny_encoder, tiny_whitening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

IMAGES = collection(32, seed=7)


def encoded(levels: Tensor) -> Encoded:
    maps = feature_maps(levels, stride=8)
    size = Size(8 * levels.shape[3], 8 * levels.shape[2])
    return Encoded((maps,), maps, torch.zeros(len(levels), 0), size)


def pictures(things: Sequence[tuple[int, int]], seed: int = 0) -> Encoded:
    """Maps of images with one thing on the left and one on the right, each a strong channel."""
    random = torch.Generator().manual_seed(seed)
    levels = torch.rand(len(things), 4, 8, 8, generator=random) * 0.1
    for row, (left, right) in enumerate(things):
        levels[row, left, :, :4] += 1
        levels[row, right, :, 4:] += 1
    return encoded(levels)


def fitted(
    things: Sequence[tuple[int, int]], count: int = 3, *, at_once: int = 100
) -> LearnedClasses:
    maps, fit = pictures(things), ClassFit(count)
    for start in range(0, len(things), at_once):
        fit.add(maps[start : start + at_once])
    return fit.fit()


# Three things, alone and in pairs.
PAIRS = [(left, right) for left in range(3) for right in range(3)]
THINGS = PAIRS * 5


class TestClassFit:
    def test_things_that_differ_have_classes_of_their_own(self) -> None:
        classes, shown = fitted(THINGS), pictures([(0, 0), (1, 1), (2, 2), (0, 1)], seed=5)
        scores = class_scores(shown.evidence, classes.weight, classes.bias)
        first, second, third = scores[:3].argmax(dim=1).tolist()
        assert {first, second, third} == {0, 1, 2}
        assert scores[3].argmin() == third

    def test_the_map_of_a_class_is_where_the_thing_is(self) -> None:
        classes, shown = fitted(THINGS), pictures([(0, 0), (0, 1)], seed=5)
        best = class_scores(shown.evidence, classes.weight, classes.bias)[0].argmax()
        heat = (classes.weight[best] @ shown.evidence.levels[1].flatten(1)).reshape(8, 8)
        assert heat[:, :4].min() > heat[:, 4:].max()

    def test_scores_are_in_deviations_over_the_images(self) -> None:
        classes, maps = fitted(THINGS), pictures(THINGS)
        scores = class_scores(maps.evidence, classes.weight, classes.bias)
        expected = torch.ones(3)
        torch.testing.assert_close(scores.std(dim=0), expected, rtol=1e-3, atol=0)

    def test_the_same_images_give_the_same_classes_in_batches_of_any_size(self) -> None:
        once, by_seven = fitted(THINGS), fitted(THINGS, at_once=7)
        torch.testing.assert_close(once.weight, by_seven.weight)
        torch.testing.assert_close(once.bias, by_seven.bias)

    def test_what_is_kept_of_a_long_stream_is_bounded(self) -> None:
        fit = ClassFit(3, most=10)
        for start in range(10):
            fit.add(pictures(PAIRS, seed=start))
        assert fit.images == 90
        assert len(fit.kept) == 10
        assert len(fit.fit()) == 3

    @pytest.mark.parametrize(("images", "count"), [(0, 4), (1, 4), (2, 64)])
    def test_too_few_images_are_refused(self, images: int, count: int) -> None:
        fit = ClassFit(count)
        if images:
            fit.add(pictures([(0, 1)] * images))
        with pytest.raises(RequestError, match=f"{images} images are too few .* --learned"):
            fit.fit()


class TestLearnedClasses:
    def test_names_are_numbers_unless_they_are_given(self) -> None:
        plain = LearnedClasses(torch.rand(2, 3), torch.zeros(2))
        assert plain.shown_names == ("learned 0", "learned 1")
        named = LearnedClasses(plain.weight, plain.bias, names=("wheel", "sky"))
        assert named.shown_names == ("wheel", "sky")


class TestClassPatches:
    def test_show_where_the_class_answers_most_best_first(self) -> None:
        """One class answers to the first channel, which is strong in one cell of each image."""
        encoder = tiny_encoder()
        encoder.weight, encoder.bias = torch.tensor([[1.0, 0.0]]), torch.zeros(1)
        patches = ClassPatches(encoder)
        levels, pixels = torch.zeros(6, 2, 6, 6), torch.zeros(6, 3, 48, 48, dtype=torch.uint8)
        for image in range(6):
            levels[image, 0, 2, 3] = 1 + image
            pixels[image, :, 16:24, 24:32] = 40 * image
        patches.add(pixels, encoded(levels))
        found = patches.sorted()
        assert found.shape[:2] == (1, PATCHES)
        middle = found.shape[2] // 2
        assert found[0, :, middle, middle, 0].tolist() == [200, 160, 120, 80]

    def test_a_class_that_few_images_show_has_black_ones(self) -> None:
        encoder = tiny_encoder()
        patches = ClassPatches(encoder)
        batch = batch_of(encoder, IMAGES[:1])
        patches.add(batch, encoder.encode(batch))
        found = patches.sorted()
        assert found[:, 0].any()
        assert not found[:, 1:].any()


class TestContactSheet:
    def test_the_patches_of_a_class_side_by_side(self) -> None:
        whitening = tiny_whitening(tiny_encoder())
        patches = torch.arange(3, dtype=torch.uint8)[:, None, None, None, None].expand(
            3, 2, 5, 4, 3
        )
        classes = LearnedClasses(torch.rand(3, 12), torch.zeros(3), patches.contiguous())
        sheet = contact_sheet(replace(whitening, classes=classes), 2)
        assert sheet is not None
        assert sheet.size == (8, 5)
        assert sheet.getpixel((7, 4)) == (2, 2, 2)

    def test_labels_have_none(self) -> None:
        assert contact_sheet(tiny_whitening(tiny_encoder()), 0) is None
