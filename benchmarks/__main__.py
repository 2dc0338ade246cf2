"""`python -m benchmarks`: the command."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from camsearch.commands import options
from camsearch.settings import read_settings
from descriptors.errors import CamsearchError, RequestError
from descriptors.machine import method_of
from descriptors.settings import MethodSettings, RegionSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.timing import Row
    from descriptors.method import Method

_NAMES = ("encode", "rerank", "windows", "bulk", "recall", "nested", "growth", "memory", "proxy")
_MAX_IMAGES = 600
_GROWTH = (10_000, 30_000, 100_000, 300_000)


def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="encode, rerank, windows, bulk, recall, nested, growth, memory, or proxy."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder of images (default: the demo's images)."),
    ] = None,
    as_json: options.JsonFile = None,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Documents (windows: 20,000 and 100,000; bulk: 5,000; recall: 100,000; "
            "nested: 2,000; growth: 10,000 to 300,000; memory, proxy: 20,000).",
        ),
    ] = None,
) -> None:
    """Measure speed, alternating with what it is compared with.

    encode: images/s from pixels to descriptor, over those of the bare network.
    rerank: ms per query with stored maps, over those with recomputed maps.
    windows: ms per query by windows in a local gallery, over those by whole images; memory.
    bulk: documents/s written by a worker without its network, over those of the bare client;
    images/s of enqueue and a worker, over those of `camsearch index`.
    recall: recall@100 compared with exact search, ms and bytes, by index type.
    nested: bytes an image and ms per query by windows in Elasticsearch, by profile.
    growth: the same for `rerank`, the default profile, by number of images.
    memory: of a worker that indexes many small images.
    proxy: kNN through `camsearch serve`, over direct kNN; searches by windows and by maps, by id
    and by upload; 50 clients for a minute each.
    All but encode, rerank and windows need an otherwise idle Elasticsearch and Redis.
    """
    if name not in _NAMES:
        raise RequestError(f"There is no benchmark {name!r}: choose one of {', '.join(_NAMES)}.")
    with TemporaryDirectory(prefix="camsearch-bench-") as folder:
        scratch = Path(folder)
        if name == "memory":
            from benchmarks.worker import bench_memory

            tables = {"rows": bench_memory(read_settings(), scratch, count or 20_000, _tell)}
        elif name == "windows":
            from benchmarks.local import bench_windows

            counts = (20_000, 100_000) if count is None else (count,)
            tables = {"rows": bench_windows(scratch, counts)}
        else:
            method = method_of(MethodSettings(), None, None, options.machine(device, precision))
            tables = _measured(name, method, _images(images, scratch), scratch, count)
    for rows in tables.values():
        _print(rows)
    options.write_json(as_json, tables)


def _measured(
    name: str, method: Method, images: list[Path], scratch: Path, count: int | None
) -> dict[str, list[Row]]:
    from benchmarks.local import bench_encode, bench_rerank

    if name == "encode":
        return {"rows": bench_encode(method, images, batch_sizes=(1, 4, 8, 16))}
    if name == "rerank":
        rows = bench_rerank(method, RegionSettings(), images, scratch / "bench", (100, 1000))
        return {"rows": rows}
    if name == "proxy":
        return _proxy(method, images, scratch, count or 20_000)
    return {"rows": _against_elasticsearch(name, method, images, scratch, count)}


def _against_elasticsearch(
    name: str, method: Method, images: list[Path], scratch: Path, count: int | None
) -> list[Row]:
    from benchmarks.bulk import bench_bulk
    from benchmarks.local import index_files
    from benchmarks.nested import bench_nested
    from benchmarks.recall import bench_recall
    from benchmarks.worker import bench_worker
    from camsearch import servers

    settings = read_settings()
    client = servers.elastic(settings)
    documents = index_files(method, images, scratch / "described")
    descriptors = np.stack([document.descriptor for document in documents])
    if name == "recall":
        return bench_recall(client, descriptors, count or 100_000, on_progress=_tell)
    if name == "nested":
        return bench_nested(client, descriptors, (count or 2000,), on_progress=_tell)
    if name == "growth":
        counts = _GROWTH if count is None else (count,)
        return bench_nested(client, descriptors, counts, ("rerank",), on_progress=_tell)
    ledger = servers.ledger(settings)
    rows = bench_bulk(client, ledger, settings, descriptors, count=count or 5000)
    return rows + bench_worker(settings, images, scratch / "worker", on_progress=_tell)


def _proxy(method: Method, images: list[Path], scratch: Path, count: int) -> dict[str, list[Row]]:
    from benchmarks.proxy import bench_load, bench_pass_through, bench_searches, search_body
    from benchmarks.served import served_gallery
    from benchmarks.worker import resident_mb

    settings = read_settings()
    with served_gallery(settings, method, images, scratch / "served", count, _tell) as served:
        _tell("passing through")
        passing = bench_pass_through(
            settings.elasticsearch, served.proxy, served.index, served.vectors
        )
        _tell("re-ranking")
        searches = bench_searches(served.proxy, served.index, served.ids[:40], images[:40])
        load = []
        for over in ("windows", "maps"):
            _tell(f"50 clients, {over}")
            bodies = [search_body({"id": one}, 100, over) for one in served.ids[:200]]
            measured = bench_load(
                served.proxy, served.index, bodies, lambda: resident_mb(served.pid)
            )
            load.append({"R 100 over": over} | measured)
    return {"pass_through": passing, "searches": searches, "load": load}


def _tell(what: str) -> None:
    Console(stderr=True).print(what)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def _images(folder: Path | None, scratch: Path) -> list[Path]:
    from camsearch.demo_images import make_demo_images
    from indexer.sources import find_images

    if folder is None:
        return [view.path for view in make_demo_images(scratch / "images")]
    found = [Path(source.uri) for source in find_images([folder])]
    if not found:
        raise RequestError(f"There is no image in {folder}: name a folder with images.")
    return found[:: max(1, len(found) // _MAX_IMAGES)]


if __name__ == "__main__":
    try:
        typer.run(bench)
    except CamsearchError as error:
        raise SystemExit(f"error: {error.reason}") from None
