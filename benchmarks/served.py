"""A large gallery in Elasticsearch behind the proxy, for benchmarks."""

from __future__ import annotations

import random
import re
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.local import index_files
from benchmarks.recall import fill_index, like_real
from benchmarks.worker import running
from camsearch import servers
from descriptors.arrays import Size
from descriptors.errors import RequestError
from descriptors.settings import MethodSettings, RegionSettings
from descriptors.windows import window_boxes
from es_mappings import indices
from galleries.about import about_method
from galleries.documents import Windows
from galleries.features import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from camsearch.settings import CommandSettings
    from descriptors.method import Method
    from galleries.documents import Document

__all__ = ["ServedGallery", "served_gallery"]

_QUERIES = 64
_ADDRESS = re.compile(r"http://\S+:\d+")


@dataclass(frozen=True)
class ServedGallery:
    """A gallery behind a proxy.

    Attributes:
        proxy: URL of the proxy.
        pid: process id of the proxy.
        vectors: descriptors of some documents.
    """

    index: str
    proxy: str
    pid: int
    ids: Sequence[str]
    vectors: Sequence[Sequence[float]]


@contextmanager
def served_gallery(
    settings: CommandSettings,
    method: Method,
    images: Sequence[Path],
    scratch: Path,
    count: int,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[ServedGallery]:
    """Create a gallery of synthetic documents and a proxy, and drop the gallery afterwards.

    Convention:
        Each document has windows like the descriptors of the images, the first of them as its
        own descriptor, and the maps of a random image. The map files are hard links, so that they
        fit into the page cache.

    Raises:
        RequestError: if the proxy does not start.
    """
    name = f"camsearch-bench-{uuid.uuid4().hex[:8]}"
    client = servers.elastic(settings)
    regions = RegionSettings()
    about = about_method(method, regions, maps=str(scratch / "maps"))
    on_progress(f"encoding {len(images)} images")
    store = FeatureStore(about["maps"], about["fingerprint"])
    originals = index_files(method, images, scratch / "originals", store, regions)
    on_progress(f"writing {count} documents")
    documents = list(_documents(originals, count, store))
    index = indices.create_gallery(
        client, name, about, about["dims"], indices.IndexPlan(replicas=0)
    )
    try:
        fill_index(client, index, documents)
        vectors = [d.descriptor.tolist() for d in documents[:_QUERIES]]
        ids = [d.id for d in documents]
        del documents
        with _proxy(settings, name) as (process, address):
            yield ServedGallery(name, address, process.pid, ids, vectors)
    finally:
        store.close()
        indices.drop_gallery(client, name)


def _documents(
    originals: Sequence[Document], count: int, store: FeatureStore
) -> Iterator[Document]:
    drawn = random.Random(0)
    windows = MethodSettings().windows
    vectors = like_real(np.stack([d.descriptor for d in originals]), count * windows)
    for number, rows in enumerate(vectors.reshape(count, windows, -1)):
        original = drawn.choice(originals)
        boxes = window_boxes(windows, Size(original.width, original.height))
        made = replace(
            original,
            id=f"{number:06d}",
            descriptor=rows[0],
            windows=Windows.of(rows, boxes),
        )
        target = Path(store.path_of(made.id))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(store.path_of(original.id))
        yield made


@contextmanager
def _proxy(settings: CommandSettings, index: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A proxy process and its URL."""
    options = ("--index", index, "--port", "0", "--elasticsearch", settings.elasticsearch)
    with running("serve", *options, stderr=subprocess.PIPE) as process:
        yield process, _address(process)


def _address(process: subprocess.Popen[str]) -> str:
    """Read the URL from the proxy's output; later lines are discarded."""
    said = []
    for line in process.stderr or ():
        said.append(line)
        if found := _ADDRESS.search(line) if "answers at" in line else None:
            Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
            return found[0]
    raise RequestError(f"The proxy does not start: {''.join(said[-5:])}")
