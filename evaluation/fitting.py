"""The method of a trial: its whitening fitted on the trial's own images, or the packaged one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from descriptors.errors import ArtifactError, RequestError
from descriptors.learned import ClassFit
from descriptors.method import Method
from descriptors.whitening import Whitening, WhiteningFit, packaged_whitening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.encoder import Encoder
    from evaluation.encoding import EncodedImages
    from evaluation.trials import DatasetImage

__all__ = ["fit_method"]


def fit_method(images: Sequence[DatasetImage], encoded: EncodedImages) -> Method:
    """The method with a whitening, and perhaps classes, fitted on images.

    Args:
        images: none for the packaged whitening.
        encoded: has their maps, and how many classes to learn.

    Raises:
        RequestError: if there are too few, or the packaged one is of other settings.
    """
    if not images:
        return _packaged_method(encoded.encoder)
    classes = None
    if encoded.learned:
        learning = ClassFit(encoded.learned)
        for _, maps in encoded.batches(images):
            learning.add(maps)
        classes = learning.fit()
        encoded = replace(encoded, encoder=encoded.encoder.with_classes(classes))
    fitting = WhiteningFit(encoded.encoder, classes)
    for _, maps in encoded.batches(images):
        fitting.add(maps)
    return Method(encoded.encoder, fitting.fit(f"{len(images)} images of an evaluation"))


def _packaged_method(encoder: Encoder) -> Method:
    try:
        return Method(encoder, Whitening.load(packaged_whitening(encoder.settings.network)))
    except ArtifactError as error:
        raise RequestError(
            f"{error.reason} For an evaluation, name images to fit one on: --fit-on DIR."
        ) from error
