"""The table of baselines, and what is chosen of it."""

from __future__ import annotations

import sys

import pytest

from descriptors.errors import RequestError
from evaluation.baselines.systems import SYSTEMS, chosen_baselines, dims_of
from tests.support.tiny_network import tiny_encoder

WITH_POWER = ("uCroW", "SPoC", "CroW", "GeM", "MAC", "R-MAC")


class TestTable:
    def test_every_system_of_the_paper_and_its_fair_twin(self):
        assert {"raw", "Razavian", "BoW", *WITH_POWER} <= set(SYSTEMS)
        for name in WITH_POWER:
            plain, twin = SYSTEMS[name], SYSTEMS[f"{name}+power"]
            assert twin.power
            assert (twin.pool, twin.whitened) == (plain.pool, plain.whitened)


class TestChosenSystems:
    def test_all_in_order_of_the_table(self):
        assert chosen_baselines() == tuple(SYSTEMS)

    def test_some_in_order_of_the_table(self):
        assert chosen_baselines(["R-MAC", "raw"]) == ("raw", "R-MAC")

    def test_none(self):
        assert chosen_baselines([]) == ()

    def test_an_unknown_one(self):
        with pytest.raises(RequestError, match=r"no baseline 'VLAD': .*raw, uCroW"):
            chosen_baselines(["VLAD"])

    def test_bow_is_never_left_out_silently(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(RequestError, match="BoW needs OpenCV"):
            chosen_baselines()
        assert chosen_baselines(["SPoC"]) == ("SPoC",)


class TestDimsOf:
    @pytest.mark.parametrize(
        ("name", "dims"),
        [("raw", 8 + 12), ("SPoC", 14), ("R-MAC+power", 14), ("Razavian", 30 * 14)],
    )
    def test_of_the_tiny_network(self, name, dims):
        assert dims_of(name, tiny_encoder()) == dims
