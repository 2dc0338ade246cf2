"""What a document becomes in Elasticsearch."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from es_mappings.fields import document_of, source_of
from tests.support.documents import document

DIMS = 512


@pytest.mark.parametrize("base64_vector", [True, False])
def test_a_descriptor_is_read_back_bit_by_bit(base64_vector):
    rng = np.random.default_rng(7)
    for _ in range(20):
        vector = rng.standard_normal(DIMS) * 10.0 ** rng.integers(-8, 1, DIMS)
        one = document("a", vector)
        written = orjson.dumps(source_of(one, base64_vector=base64_vector))
        read = document_of(orjson.loads(written)).descriptor
        assert read.tobytes() == one.descriptor.tobytes()


def test_numbers_have_no_digits_beyond_float32():
    one = document("a", np.random.default_rng(7).standard_normal(DIMS))
    numbers = source_of(one, base64_vector=False)["descriptor"]
    assert len(orjson.dumps(numbers)) < 14 * DIMS  # tolist() takes 21
