"""Fitting a whitening on images."""

from __future__ import annotations

import pytest
import torch

from descriptors.errors import RequestError
from descriptors.method import Method
from descriptors.whitening import WhiteningFit
from tests.support.images import collection
from tests.support.tiny_network import batch_of, tiny_encoder, tiny_settings, tiny_whitening
from tests.support.tolerances import WHITENED

IMAGES = collection(32, seed=7)


def test_batches_of_any_size_give_one_fit() -> None:
    encoder = tiny_encoder()
    by_one, at_once = WhiteningFit(encoder), WhiteningFit(encoder)
    for image in IMAGES:
        by_one.add(encoder.encode(batch_of(encoder, [image])))
    at_once.add(encoder.encode(batch_of(encoder, IMAGES)))
    assert by_one.images == at_once.images == 32
    one, other = by_one.fit("x"), at_once.fit("x")
    for a, b in zip(one.layers, other.layers, strict=True):
        for i in range(len(a.projection)):
            # The length of a row is what the fit is about; rows of near-equal eigenvalues may turn.
            WHITENED.check(b.projection[i].norm(), a.projection[i].norm())


def test_the_fit_names_what_it_is_for() -> None:
    encoder = tiny_encoder()
    fitted = tiny_whitening(encoder)
    assert fitted.vector_digest == encoder.settings.vector_digest()
    assert fitted.weights_digest == encoder.loaded.weights_digest
    assert [tuple(layer.projection.shape) for layer in fitted.layers] == [(6, 8), (8, 12)]
    Method(encoder, fitted)


def test_n_pca_vectors_of_each_image_count() -> None:
    """One vector an image, so 8 images cannot give 8 dimensions; two can."""
    few = collection(8, seed=1)
    one, two = (tiny_encoder(tiny_settings("paper", n_pca=n)) for n in (1, 2))
    with pytest.raises(RequestError, match=r"8 vectors .* 8 dimensions"):
        tiny_whitening(one, few)
    assert tiny_whitening(two, few).layers[0].projection.shape == (8, 12)


def test_no_image_is_refused() -> None:
    with pytest.raises(RequestError, match="No image"):
        WhiteningFit(tiny_encoder()).fit("nothing")


@torch.inference_mode()
def test_images_without_activation_are_left_out() -> None:
    """Black evidence gives zero class vectors, which say nothing about the collection."""
    encoder = tiny_encoder()
    encoded = encoder.encode(batch_of(encoder, IMAGES))
    for maps in (*encoded.features, encoded.evidence):
        maps.levels[:4] = 0
    fit = WhiteningFit(encoder)
    fit.add(encoded)
    others = WhiteningFit(encoder)
    others.add(encoded[4:])
    assert torch.allclose(fit.fit("x").layers[0].mean, others.fit("x").layers[0].mean)
