"""What other people's tasks may hold: the types of kombu's JSON, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["ENTRIES", "METADATA"]

_TEXTS = st.text(st.characters(codec=None), max_size=20) | st.just("k" * 600)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS | st.binary(max_size=8)
    | st.datetimes() | st.dates() | st.decimals() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
)  # fmt: skip


def _nested(levels: int) -> dict[str, object]:
    return {} if levels == 0 else {"a": _nested(levels - 1)}


# Few names, since each new one is a field of the index.
METADATA = st.dictionaries(st.sampled_from(["a", "b", "c.d"]), _VALUES, max_size=3) | st.builds(
    _nested, st.integers(0, 200)
)
ENTRIES = _VALUES | st.fixed_dictionaries(
    {"uri": _TEXTS.map("/nowhere/{}".format)}, optional={"id": _TEXTS, "meta": METADATA}
)
