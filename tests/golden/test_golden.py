"""Every step of the method against slow loops written from a description, and against kept numbers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from tests.golden import numbers
from tests.golden import reference as ref
from tests.golden.cases import Case, cases
from tests.golden.real_steps import Steps, method_of, real_steps
from tests.golden.reference_steps import Slow, reference_steps
from tests.support.images import collection
from tests.support.tiny_network import batch_of
from tests.support.tolerances import FLOAT32, WHITENED, golden_tolerance

CASES = {case.name: case for case in cases()}

# Only numbers.json knows these: they come out of Pillow's resize and torch's convolutions.
_NOT_IN_REFERENCE = ("working", "evidence", "features.mid", "features.last")


@lru_cache
def _real(name: str) -> Steps:
    return real_steps(CASES[name])


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_every_step_equals_the_loops(case: Case) -> None:
    real, expected = _real(case.name), reference_steps(case)

    assert {*expected} == {*real} - {*_NOT_IN_REFERENCE}
    for step, values in expected.items():
        assert values.shape == real[step].shape, step
        if values.dtype.kind == "i":
            np.testing.assert_array_equal(real[step], values, err_msg=step)
        else:
            golden_tolerance(step, kept=False).check(values, real[step], step)


def test_every_step_equals_the_kept_numbers(case: Case) -> None:
    kept = numbers.read().get(case.name)
    assert kept is not None, "no numbers are kept: run `make golden`"
    actual = numbers.summaries(_real(case.name))

    assert [*kept] == [*actual]
    for step, summary in kept.items():
        assert summary["shape"] == actual[step]["shape"], step
        tolerance = golden_tolerance(step, kept=True)
        cells = max(1.0, float(np.prod(summary["shape"])))
        for field in ("sum", "mixed"):
            # Roundings of many values add up.
            allowed = tolerance._replace(atol=tolerance.atol * cells**0.5 * 3)
            allowed.check(summary[field], actual[step][field], f"{step} {field}")
        for field in ("norm", "first"):
            tolerance.check(summary[field], actual[step][field], f"{step} {field}")


def test_no_case_hangs_on_a_hair(case: Case) -> None:
    """Ranks and thresholds have room for rounding, or the two above would fail by chance."""
    real, regions = _real(case.name), case.variant.regions
    ranked = np.sort(real["scores"])[::-1]
    assert np.diff(-ranked).min() > 1e-3
    for i in range(len(case.hits)):
        heat = real[f"hits.{i}.heat"]
        shares = heat / heat.max()
        positive = shares[shares > 0]
        assert min(abs(positive - t).min() for t in regions.thresholds) > 1e-5


def test_the_cases_reach_what_they_should() -> None:
    """Boxes cut something away, regions differ, some hit's best region is not the whole of it."""
    boxed = [name for name in CASES if name.endswith("-box")]
    for name in boxed:
        whole = _real(name.removesuffix("-box"))["query.descriptor"]
        assert whole @ _real(name)["query.descriptor"] < 0.99
    best = [(_real(n)[f"hits.{i}.best"], n) for n in CASES for i in (0, 1)]
    assert sum(region[0] > 0 or region[1] > 0 for region, _ in best) >= len(CASES) // 3
    assert {len(_real(n)["hits.0.proposals"]) for n in CASES} >= {3, 5}


@pytest.mark.parametrize("variant", ["default", "paper", "paper_mid"])
def test_whitening_is_the_pca_of_its_images(variant: str) -> None:
    """The fit by loops: mean, and each axis (its sign is free) by the root of its eigenvalue."""
    method = method_of(variant)
    slow = Slow(method)
    vectors: list[list[np.ndarray]] = [[] for _ in slow.names]
    for image in collection(32, seed=7):
        maps = slow.maps(image)
        scores = ref.scores(maps.evidence, slow.weight, slow.bias)
        best = ref.top_classes(scores, method.settings.n_pca)
        for kept, found in zip(vectors, slow.class_vectors(maps, best), strict=True):
            kept.extend(v for v in found if v.any())
    for kept, layer, fitted in zip(vectors, method.settings.layers, slow.whitenings, strict=True):
        mean, axes, values = ref.fit_pca(np.array(kept), layer.dims)
        FLOAT32.check(mean, fitted[0])
        for axis, value, row in zip(axes, values, fitted[1], strict=True):
            sign = np.sign(axis @ row)
            WHITENED.check(sign * axis * value**-0.5, row, f"axis of eigenvalue {value}")


def test_offline_descriptors_are_those_of_the_batch(case: Case) -> None:
    """One image alone and the same image among others give the same descriptor."""
    method = method_of(case.name.split("-")[0])
    batch = batch_of(method.encoder, [case.hits[0], case.query, case.hits[1]])
    WHITENED.check(
        _real(case.name)["descriptor"], method.describe_images(batch).descriptors[1].numpy()
    )
