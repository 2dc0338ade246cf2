"""BoW on made images: words, weights, the search, and what RANSAC does to it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.baselines.bow import BagOfWords, Vocabulary, inverse_frequencies, tf_idf
from evaluation.baselines.keypoints import Keypoints, extract
from evaluation.trials import DatasetImage, DatasetQuery, Judgement, Trial

SIDE = 200


def texture(seed):
    """Blobs of random brightness, which have some hundred keypoints."""
    coarse = np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def points_of(descriptors):
    return Keypoints(np.zeros((len(descriptors), 2), np.float32), descriptors.astype(np.uint8))


def clusters(each=30):
    """Descriptors about three centres, `each` of each, one centre after the other."""
    random = np.random.default_rng(0)
    centres = np.zeros((3, 128))
    centres[0, :40], centres[1, 40:80], centres[2, 80:] = 90, 90, 90
    return np.concatenate([centre + random.integers(0, 6, (each, 128)) for centre in centres])


class TestVocabulary:
    def test_keypoints_of_one_cluster_are_one_word(self):
        rows = clusters()
        vocabulary = Vocabulary.fitted([points_of(rows)], BagOfWords(words=3))
        words = vocabulary.words_of(rows.astype(np.uint8)).reshape(3, 30)
        assert (words == words[:, :1]).all()

    def test_the_nearest_centre_against_loops(self):
        rows = clusters(each=20)
        vocabulary = Vocabulary.fitted([points_of(rows)], BagOfWords(words=6))
        centres = vocabulary.centres.numpy()
        for row, word in zip(rows, vocabulary.words_of(rows.astype(np.uint8)), strict=True):
            described = np.sqrt(row / row.sum())
            distances = [np.linalg.norm(described - centre) for centre in centres]
            assert distances[word] == pytest.approx(min(distances), abs=1e-5)

    def test_few_keypoints_give_fewer_words_and_say_so(self, caplog):
        vocabulary = Vocabulary.fitted([points_of(clusters())], BagOfWords(words=1000))
        assert len(vocabulary.centres) == 9
        assert "90 keypoints give 9 words, not 1000" in caplog.text

    def test_a_sample_of_many_keypoints(self, caplog):
        Vocabulary.fitted([points_of(clusters())], BagOfWords(words=1000, sample=50))
        assert "45 keypoints give 4 words" in caplog.text

    def test_too_few_keypoints_to_fit_on(self):
        with pytest.raises(RequestError, match="too few for a vocabulary"):
            Vocabulary.fitted([points_of(clusters()[:10])], BagOfWords())


class TestTfIdf:
    def test_by_hand(self):
        words = [np.array([0, 0, 1]), np.array([1, 2]), np.array([1])]
        idf = inverse_frequencies(words, 4)
        np.testing.assert_allclose(idf, [np.log(3), 0, np.log(3), 0])
        found = tf_idf(words, idf).toarray()
        np.testing.assert_allclose(found, [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])

    def test_against_loops(self):
        random = np.random.default_rng(1)
        words = [random.integers(0, 9, n) for n in (12, 0, 7, 20)]
        idf = inverse_frequencies(words, 9)
        expected = np.zeros((4, 9))
        for row, one in enumerate(words):
            for word in one:
                images = sum(word in other for other in words)
                expected[row, word] += np.log(4 / images)
            expected[row] /= np.linalg.norm(expected[row]) or 1
        np.testing.assert_allclose(tf_idf(words, idf).toarray(), expected, atol=1e-12)


class Bench:
    """Made images: eight different images, and a view of the first that is turned and cut."""

    def __init__(self, folder):
        images = [texture(seed) for seed in range(8)]
        view = images[0].rotate(12, Image.Resampling.BILINEAR).crop((20, 20, 180, 180))
        self.images = [
            self.image(image, folder / f"{i}.png") for i, image in enumerate([*images, view])
        ]
        fit = [texture(seed) for seed in range(20, 28)]
        self.fit = [self.image(image, folder / f"fit{i}.png") for i, image in enumerate(fit)]
        every = (*self.images, *self.fit)
        self.points = {image.file: extract(image) for image in every}

    @staticmethod
    def image(image, file):
        image.save(file)
        return DatasetImage(file.name, Size(*image.size), file)

    def search(self, query, box=None, leave_out=None):
        asked = DatasetQuery(query, box, {"all": Judgement(frozenset({"8.png"}))}, leave_out)
        trial = Trial("made", tuple(self.fit), tuple(self.images), (asked,))
        found = BagOfWords(words=100).search(trial, self.points, lambda *_: None)
        names = [image.path for image in self.images]
        return {one.stage: [names[row] for row in one.rows[0].tolist()] for one in found}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bow"))


class TestSearch:
    def test_the_warped_view_comes_first(self, bench):
        found = bench.search(bench.images[0], leave_out="0.png")
        assert set(found) == {"first", "R100"}
        assert found["R100"][0] == "8.png"
        assert found["R100"][-1] == "0.png"

    def test_a_query_that_may_be_an_answer_to_itself(self, bench):
        assert bench.search(bench.images[3])["R100"][0] == "3.png"

    def test_ransac_puts_the_view_before_what_shares_more_words(self, bench, monkeypatch):
        # Without weights the order of the first search is that of the gallery.
        monkeypatch.setattr(
            "evaluation.baselines.bow.inverse_frequencies", lambda _words, size: np.zeros(size)
        )
        found = bench.search(bench.images[0], leave_out="0.png")
        assert found["first"].index("8.png") == 7
        assert found["R100"] == ["8.png", *[f"{i}.png" for i in range(1, 8)], "0.png"]

    def test_a_box_sees_only_its_keypoints(self, bench):
        whole = Box(0, 0, SIDE, SIDE)
        assert bench.search(bench.images[2], whole) == bench.search(bench.images[2])
        assert bench.search(bench.images[2], Box(0, 0, 1, 1))["first"] == [
            image.path for image in bench.images
        ]

    def test_dims_are_its_words(self):
        assert BagOfWords(words=7).dims([], []) == 7
