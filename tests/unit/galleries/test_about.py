"""A gallery says how it was made, and the method is put together again from that."""

from __future__ import annotations

import json

import pytest

from descriptors.errors import ArtifactError
from descriptors.machine import Machine
from descriptors.settings import RegionSettings
from galleries.about import about_method, features_of, method_about, regions_about
from galleries.errors import ContractError, FingerprintMismatch
from tests.unit.camsearch.conftest import tiny, tiny_files  # noqa: F401 - fixtures

MACHINE = Machine(precision="float32")


@pytest.fixture
def about(tiny):  # noqa: F811 - the fixture
    from descriptors.machine import method_of

    method = method_of(tiny.settings, tiny.whitening, tiny.weights, MACHINE)
    said = about_method(
        method,
        RegionSettings(min_side=7),
        whitening=tiny.whitening,
        weights=tiny.weights,
        maps="memory://maps",
    )
    return json.loads(json.dumps(said))


def test_the_method_comes_back(about):
    method = method_about(about, MACHINE)
    assert method.fingerprint() == about["fingerprint"]
    assert regions_about(about) == RegionSettings(min_side=7)
    assert features_of(about).address == "memory://maps"
    assert features_of(about | {"maps": None}) is None


def test_other_weights_or_settings_are_refused(about):
    with pytest.raises(FingerprintMismatch, match="gallery rebuild"):
        method_about(about | {"fingerprint": "0" * 64}, MACHINE)
    with pytest.raises(ArtifactError, match="no whitening"):
        method_about(about | {"whitening": "/nowhere/w.safetensors"}, MACHINE)


@pytest.mark.parametrize("spoil", [{"method": {"side": "x"}}, {"method": {"new_number": 1}}])
def test_settings_of_another_version_are_refused(about, spoil):
    with pytest.raises(ContractError, match="by this version"):
        method_about(about | {"method": about["method"] | spoil["method"]}, MACHINE)
    with pytest.raises(ContractError, match="by this version"):
        regions_about({})
