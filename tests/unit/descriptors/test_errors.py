"""Every error: a sentence that survives leaving the process, and a short name."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from descriptors import errors
from descriptors.errors import CamsearchError, RequestError, written


def every_error(root: type[CamsearchError] = CamsearchError) -> list[type[CamsearchError]]:
    """The root and all its subclasses known so far, in other packages too."""
    return [root, *(error for child in root.__subclasses__() for error in every_error(child))]


OWN = [one for name in errors.__all__ if isinstance(one := getattr(errors, name), type)]


def test_an_error_travels_with_type_and_message() -> None:
    for error in OWN:
        raised = error("A sentence with its remedy.")
        for travelled in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):  # noqa: S301
            assert type(travelled) is error
            assert str(travelled) == "A sentence with its remedy."
            assert travelled.args == raised.args
        # As a task queue does it: type and arguments through JSON.
        again = error(*json.loads(json.dumps(error("A sentence.").args)))
        assert again.reason == "A sentence."
        assert error().reason == error.__name__


def test_every_error_is_exported_and_drawn_in_the_tree() -> None:
    own = {error for error in every_error() if error.__module__ == "descriptors.errors"}
    assert own == set(OWN)
    assert errors.__doc__ is not None
    for error in own:
        assert error.__name__ in errors.__doc__


def test_an_image_error_has_a_short_stable_name() -> None:
    error = pickle.loads(pickle.dumps(errors.ImageTooSmall("x")))  # noqa: S301
    assert error.kind == "image_too_small"


def test_a_file_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    words = r"--out .*/no/a cannot be written \(.*\): choose another path\."
    with pytest.raises(RequestError, match=words), written(f"--out {tmp_path}/no/a"):
        (tmp_path / "no" / "a").write_text("")
    with pytest.raises(RequestError, match="full"), written("a", EOFError):
        raise EOFError("full")
    with pytest.raises(EOFError), written("a"):
        raise EOFError
