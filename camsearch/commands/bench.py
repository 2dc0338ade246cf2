"""`camsearch bench`: how fast, as ratios measured in one run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from camsearch.commands import options
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.method import Method
    from evaluation.bench import BenchRow
    from evaluation.bench_bulk import BulkRow
    from evaluation.bench_elastic import RecallRow

__all__ = ["EXAMPLE", "bench"]

EXAMPLE = "Example: camsearch bench encode --json -   or   camsearch bench recall photos/"

_WAYS = ("encode", "rerank", "bulk", "recall", "memory", "proxy")

_MOST_PICTURES = 600


def bench(
    what: Annotated[str, typer.Argument(help="encode, rerank, bulk, recall, memory, or proxy.")],
    photos: Annotated[
        Path | None,
        typer.Argument(help="Folder of photos (default: the made pictures of the demo)."),
    ] = None,
    as_json: options.JsonFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Documents (bulk: 5,000; recall: 100,000; memory and proxy: 20,000).",
        ),
    ] = None,
) -> None:
    """Measure speed: what it is compared with runs in turns with it, so the ratio holds.

    encode: pictures/s from pixels to descriptor over pictures/s of the bare network.
    rerank: milliseconds a query from kept maps over the same with maps recomputed.
    bulk: documents/s of a worker, network left out, over those of the bare client; and
    pictures/s through enqueue and one worker over those of plain `camsearch index`.
    recall: recall@100 against exact search, milliseconds and bytes, by index type.
    memory: of a worker, while many small made pictures go through it.
    proxy: kNN through `camsearch serve` over the same direct; re-ranked searches by id and by
    upload; 50 callers for a minute.
    All from bulk on need an Elasticsearch and a Redis with nothing else to do.
    """
    from descriptors.machine import method_of
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.bench import bench_encode, bench_rerank

    if what not in _WAYS:
        raise RequestError(f"There is no benchmark {what!r}: choose one of {', '.join(_WAYS)}.")
    if what == "proxy" and find_spec("aiohttp") is None:
        raise RequestError(
            "This benchmark needs aiohttp: `pip install 'camsearch[bench]'`, or choose another."
        )
    if what == "memory":
        _memory(count or 20_000, as_json)
        return
    method = method_of(MethodSettings(), None, None, options.machine(device, precision))
    with TemporaryDirectory(prefix="camsearch-bench-") as scratch:
        pictures = _pictures(photos, Path(scratch))
        if what == "proxy":
            _proxy(method, pictures, Path(scratch), count or 20_000, as_json)
            return
        if what in ("bulk", "recall"):
            _against_elasticsearch(what, method, pictures, count, as_json)
            return
        if what == "encode":
            rows = bench_encode(method, pictures, batch_sizes=(1, 4, 8, 16))
        else:
            rows = bench_rerank(
                method, RegionSettings(), pictures, Path(scratch, "gallery"), windows=(100, 1000)
            )
    Console().print(_table(rows))
    options.write_json(as_json, {"rows": [row.to_json() for row in rows]})


def _against_elasticsearch(
    what: str, method: Method, pictures: list[Path], count: int | None, as_json: Path | None
) -> None:
    from camsearch import servers
    from camsearch.bench_worker import bench_worker
    from camsearch.settings import read_settings
    from evaluation.bench import describe_files
    from evaluation.bench_bulk import bench_bulk
    from evaluation.bench_elastic import bench_recall

    settings = read_settings()
    client = servers.elastic(settings)
    descriptors = describe_files(method, pictures)
    console = Console(stderr=True)
    rows: list[BulkRow] | list[RecallRow]
    if what == "bulk":
        ledger = servers.ledger(settings)
        rows = bench_bulk(client, ledger, settings, descriptors, count=count or 5000)
        with TemporaryDirectory(prefix="camsearch-bench-") as scratch:
            rows += bench_worker(settings, pictures, Path(scratch), on_progress=console.print)
    else:
        rows = bench_recall(client, descriptors, count or 100_000, on_progress=console.print)
    _print([row.to_json() for row in rows], as_json)


def _memory(count: int, as_json: Path | None) -> None:
    from camsearch.bench_worker import bench_memory
    from camsearch.settings import read_settings

    console = Console(stderr=True)
    with TemporaryDirectory(prefix="camsearch-bench-") as scratch:
        rows = bench_memory(read_settings(), Path(scratch), count, console.print)
    _print([row.to_json() for row in rows], as_json)


def _proxy(
    method: Method, pictures: list[Path], scratch: Path, count: int, as_json: Path | None
) -> None:
    from camsearch.bench_process import resident_mb
    from camsearch.bench_serve import served_gallery
    from camsearch.settings import read_settings
    from es_mappings.fields import DESCRIPTOR
    from evaluation.bench_proxy import bench_pass_through
    from evaluation.bench_searches import bench_load, bench_searches, search_body

    settings, console = read_settings(), Console(stderr=True)
    with served_gallery(settings, method, pictures, scratch, count, console.print) as served:
        console.print("passing through")
        passing = bench_pass_through(
            settings.elasticsearch, served.proxy, served.index, DESCRIPTOR, served.vectors
        )
        console.print("re-ranking")
        searches = bench_searches(served.proxy, served.index, served.ids[:40], pictures[:40])
        console.print("50 callers")
        bodies = [search_body({"id": one}, 100) for one in served.ids[:200]]
        load = bench_load(served.proxy, served.index, bodies, lambda: resident_mb(served.pid))
    tables = {
        "pass_through": [row.to_json() for row in passing],
        "searches": [row.to_json() for row in searches],
        "load": [load.to_json()],
    }
    for rows in tables.values():
        _print(rows, None)
    options.write_json(as_json, tables)


def _print(content: list[dict[str, Any]], as_json: Path | None) -> None:
    table = Table(*content[0])
    for row in content:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)
    options.write_json(as_json, {"rows": content})


def _pictures(photos: Path | None, scratch: Path) -> list[Path]:
    from indexer.sources import find_pictures

    if photos is None:
        from camsearch.demo_pictures import make_demo_pictures

        return [view.path for view in make_demo_pictures(scratch / "pictures")]
    found = [Path(source.uri) for source in find_pictures([photos])]
    if not found:
        raise RequestError(f"There is no picture in {photos}: name a folder with photos.")
    return found[:: max(1, len(found) // _MOST_PICTURES)]


def _table(rows: Sequence[BenchRow]) -> Table:
    table = Table()
    table.add_column("what")
    for name in ("batch or R", "ms p50", "ms p95", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        table.add_row(row.what, str(row.size), f"{row.ms_p50:.1f}", f"{row.ms_p95:.1f}", ratio)
    return table
