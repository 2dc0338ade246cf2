"""Windows in Elasticsearch: their mapping, their JSON, and their settings.

`regions` is nested, one object per window. `regions.vector` has 8-bit levels, of which only
cosines count; `regions.box` is x0, y0, x1, y1 in pixels of the upright image, only in `_source`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Int8

from galleries.documents import Windows
from galleries.gallery import windows_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["BOX", "EARLY_TERMINATION", "MAX_HITS", "PROFILES", "REGIONS", "VECTOR", "Profile"]
__all__ += ["add_windows", "parts_of", "regions_mapping", "regions_of", "windows_of"]

# Elasticsearch's limit of hits, k and num_candidates.
MAX_HITS = 10_000

REGIONS, VECTOR, BOX = "regions", "regions.vector", "regions.box"

Profile = Literal["rerank", "search"]

# `flat` compares all windows asked for, exactly; a graph is ten times slower to write.
PROFILES: Mapping[Profile, Mapping[str, Any]] = {
    "rerank": {"type": "flat"},
    "search": {"type": "hnsw", "m": 16, "ef_construction": 100},
}

# True unless set in indices made by 9.3 and later. A search of a graph of windows then stops long
# before it has found k images: recall falls from .98 to .70, and more candidates do not help.
EARLY_TERMINATION = "index.dense_vector.hnsw_enable_early_termination"


def regions_mapping(dims: int, profile: Profile) -> dict[str, Any]:
    """The mapping of the field `regions`."""
    vector = {
        "type": "dense_vector",
        "element_type": "byte",
        "dims": dims,
        "index": True,
        "similarity": "cosine",
        "index_options": dict(PROFILES[profile]),
    }
    box = {"type": "integer", "index": False, "doc_values": False}
    return {"type": "nested", "properties": {"vector": vector, "box": box}}


def add_windows(
    mappings: dict[str, Any], about: Mapping[str, Any], dims: int, profile: Profile
) -> None:
    """Add `regions` to a new index's mappings if the method has windows."""
    if windows_count(about):
        mappings["_meta"]["camsearch"]["profile"] = profile
        mappings["properties"][REGIONS] = regions_mapping(dims, profile)


def regions_of(windows: Windows) -> list[dict[str, Any]]:
    """The value of `regions`; hexadecimal vectors are what every version reads fastest."""
    boxes = windows.boxes.tolist()
    levels = (row.tobytes().hex() for row in windows.vectors)
    return [{"vector": row, "box": box} for row, box in zip(levels, boxes, strict=True)]


def windows_of(regions: Sequence[Mapping[str, Any]] | None) -> Windows | None:
    """The windows of a value of `regions`; None if there is none."""
    if not regions:
        return None
    vectors = np.stack([_levels(region["vector"]) for region in regions])
    return Windows(vectors, np.array([region["box"] for region in regions], dtype=np.int32))


def parts_of(ids: Sequence[str], windows: int) -> Iterator[Sequence[str]]:
    """Divide ids so that all windows of each part are compared, even by a graph.

    Args:
        ids: of documents.
        windows: of each; 1 where a comparison is exact anyway.
    """
    # A graph compares exactly where candidates are no fewer than windows.
    size = max(1, MAX_HITS // max(windows, 1))
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _levels(written: str | Sequence[float]) -> Int8[np.ndarray, " D"]:
    """A vector as it was written, or as numbers, which newer versions return."""
    if isinstance(written, str):
        return np.frombuffer(bytes.fromhex(written), dtype=np.int8)
    return np.asarray(written, dtype=np.int8)
