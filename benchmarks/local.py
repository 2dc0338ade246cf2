"""Encoding and re-ranking, without servers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.timing import percentiles, take_turns, timed_ms
from descriptors.encoder import to_working_size
from descriptors.images import read_image
from galleries.features import FeatureStore
from galleries.local import LocalGallery
from indexer.encoding import encode_documents
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import Source
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.timing import Row
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from galleries.documents import Document

__all__ = ["bench_encode", "bench_rerank", "index_files"]


def bench_encode(
    method: Method, images: Sequence[Path], batch_sizes: Sequence[int], repeats: int = 15
) -> list[Row]:
    """From pixels to descriptors, compared with the network's forward pass on the same tensors.

    Returns:
        For each batch size the forward pass, and the description with
        ratio = (images/s described) / (images/s of the forward pass); then decoding alone.
    """
    pixels = [_pixels(method, path) for path in images[:32]]
    commonest = Counter(one.shape for one in pixels).most_common(1)[0][0]
    pixels = [one for one in pixels if one.shape == commonest]
    rows = []
    for size in batch_sizes:
        batch = method.encoder.prepare(list(islice(cycle(pixels), size)))
        forward = torch.inference_mode()(
            partial(method.encoder.forward, method.encoder.normalise(batch))
        )
        bare, described = take_turns(forward, partial(method.describe_images, batch), repeats)
        ratio = float(np.median(bare) / np.median(described))
        rows += [
            _row("encode", "bare forward, a batch", size, bare),
            _row("encode", "pixels to descriptor, a batch", size, described, ratio, "bare forward"),
        ]
    decoding = [timed_ms(partial(_pixels, method, path)) for path in images]
    return [*rows, _row("encode", "read, decode and resize, an image", 1, decoding)]


def _pixels(method: Method, path: Path) -> torch.Tensor:
    image = read_image(path.read_bytes(), reduce_to=method.settings.side)
    pixels: torch.Tensor = to_working_size(image, method.settings)
    return pixels


def bench_rerank(
    method: Method,
    regions: RegionSettings,
    images: Sequence[Path],
    folder: Path,
    windows: Sequence[int],
    repeats: int = 9,
) -> list[Row]:
    """Re-ranking with stored maps, compared with maps recomputed from the images.

    Convention:
        If there are fewer images than the largest window (R), the gallery has copies with maps
        of their own. Recomputing is timed once, since it is slow and varies little.

    Returns:
        For each R: recomputed maps, and stored maps with ratio = stored / recomputed.
    """
    features = FeatureStore(str(folder / "maps"), method.fingerprint())
    originals = index_files(method, images, folder / "originals", features, regions)
    packed = features.packed([one.id for one in originals])
    gallery = LocalGallery.create(
        folder / "gallery", method.settings.dims, method.fingerprint(), {}
    )
    for copy in range(-(-max(windows) // len(originals))):
        named = {f"{one.id}#{copy}": one for one in originals}
        features.put({id_: packed[one.id] for id_, one in named.items()})
        gallery.put([replace(one, id=id_) for id_, one in named.items()])
    queries = [
        method.describe_query(read_image(path.read_bytes()), regions) for path in images[:repeats]
    ]
    kept = Searcher(method, gallery, features, regions)
    encode = partial(encode_documents, method=method, plan=IndexingPlan())
    again = Searcher(method, gallery, None, regions, encode)
    rows = []
    for window in windows:
        plan = SearchPlan(k=10, window=window)
        slow = [again.search(queries[0], plan).milliseconds["rerank"]]
        kept.search(queries[0], plan)
        fast = [kept.search(query, plan).milliseconds["rerank"] for query in queries]
        ratio = float(np.median(fast) / np.median(slow))
        rows += [
            _row("rerank", "maps recomputed, a query", window, slow),
            _row("rerank", "kept maps, a query", window, fast, ratio, "maps recomputed"),
        ]
    for part in (kept, again, features, gallery):
        part.close()
    return rows


def index_files(
    method: Method,
    images: Sequence[Path],
    folder: Path,
    features: FeatureStore | None = None,
    regions: RegionSettings | None = None,
) -> list[Document]:
    """Index image files into a local gallery in an empty folder, and return the documents."""
    plan = IndexingPlan(coarse_maps=regions is not None and regions.coarse_maps)
    sources = [Source(str(path), str(path)) for path in images]
    with LocalGallery.create(folder, method.settings.dims, method.fingerprint(), {}) as gallery:
        index_sources(sources, method, gallery, features, plan)
        return list(gallery.documents())


def _row(
    bench: str, what: str, size: int, times: list[float], ratio: float | None = None, to: str = ""
) -> Row:
    about = {"bench": bench, "what": what, "size": size}
    compared = {"ratio": ratio, "compared_with": to, "repeats": len(times)}
    return about | percentiles(times) | compared
