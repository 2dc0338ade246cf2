"""A pickle is read as data; as a program it is refused before anything of it runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descriptors.errors import RequestError
from evaluation.datasets.pickles import read_plain_pickle

PAGE = "http://example.org/"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(tmp_path, data):
    path = tmp_path / "truth.pkl"
    path.write_bytes(data)
    return read_plain_pickle(path, PAGE)


class TestPlainPickles:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_words_numbers_lists_and_arrays(self, tmp_path, protocol):
        value = {
            "imlist": ["a", "é"],
            "gnd": [
                {"ok": np.array([3, 1]), "junk": np.array([], np.int32), "bbx": (1.5, 2)},
                {"ok": np.array([[7]], np.uint8), "junk": [], "bbx": np.array([0.25], ">f4")},
                {"ok": np.int64(4), "junk": None, "bbx": True},
            ],
        }
        assert read(tmp_path, pickle.dumps(value, protocol=protocol)) == {
            "imlist": ["a", "é"],
            "gnd": [
                {"ok": [3, 1], "junk": [], "bbx": [1.5, 2]},
                {"ok": [7], "junk": [], "bbx": [0.25]},
                {"ok": 4, "junk": None, "bbx": True},
            ],
        }

    def test_an_array_as_old_numpy_and_python_2_wrote_it(self, tmp_path):
        old = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
            b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
            b"S'\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xff\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\n"
            b"tb."
        )
        assert read(tmp_path, old) == [5, 255]


class Harmful:
    """What runs a command when a careless reader unpickles it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class TestHarmfulPickles:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_command_is_not_run(self, tmp_path, protocol):
        marker = tmp_path / "harm done"
        data = pickle.dumps({"imlist": [Harmful(marker)]}, protocol=protocol)
        with pytest.raises(RequestError, match=r"posix\.system.*may be harmful\. Get it from http"):
            read(tmp_path, data)
        assert not marker.exists()

    @pytest.mark.parametrize(
        "name",
        [
            b"builtins\neval",
            b"builtins\n__import__",
            b"os\nsystem",
            b"numpy\nload",
            b"numpy\nfromfile",
            b"numpy.core.multiarray\n_reconstruct.__globals__",
            b"evaluation.datasets.pickles\npickle.loads",
            b"functools\npartial",
        ],
    )
    def test_names_that_no_list_needs(self, tmp_path, name):
        with pytest.raises(RequestError, match="may be harmful"):
            read(tmp_path, b"c" + name + b"\n.")

    def test_they_would_run_if_read_carelessly(self, tmp_path):
        """Otherwise the tests above would prove nothing."""
        marker = tmp_path / "harm"
        pickle.loads(pickle.dumps(Harmful(marker)))  # noqa: S301 - that is the point
        assert marker.exists()

    @pytest.mark.parametrize(
        "value",
        [
            OrderedDict(a=1),
            {1, 2},
            np.array(["text"]),
            np.array([object()]),
            np.array([[1, 2], [3, 4]]),
            np.array([1 + 2j]),
            b"bytes",
        ],
    )
    def test_other_values(self, tmp_path, value):
        with pytest.raises(RequestError, match="is damaged or contains what no ground truth needs"):
            read(tmp_path, pickle.dumps(value))

    def test_an_array_that_claims_more_than_it_has(self, tmp_path):
        data = pickle.dumps(np.array([1, 2, 3], np.int64), protocol=2)
        with pytest.raises(RequestError, match="an array of"):
            read(tmp_path, data.replace(b"K\x03\x85", b"K\x63\x85"))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=60))
    def test_any_bytes_are_read_or_refused(self, tmp_path, data):
        try:
            read(tmp_path, data)
        except RequestError as error:
            assert PAGE in error.reason  # noqa: PT017 - most bytes are refused, some are read

    def test_a_list_that_holds_itself(self, tmp_path):
        endless: list[object] = []
        endless.append(endless)
        with pytest.raises(RequestError, match="is damaged"):
            read(tmp_path, pickle.dumps(endless))

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(RequestError, match=r"none\.pkl cannot be read"):
            read_plain_pickle(tmp_path / "none.pkl", PAGE)
