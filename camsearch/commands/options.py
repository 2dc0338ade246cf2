"""Options that several commands share."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from camsearch.settings import CommandSettings, read_settings
from descriptors.errors import RequestError, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from descriptors.machine import Machine
    from galleries.filters import Filter

__all__ = [
    "INTERRUPTED",
    "Corners",
    "Device",
    "Exclude",
    "GalleryFolder",
    "JsonFile",
    "MetaMapping",
    "PrecisionOption",
    "check_writable",
    "gallery_folder",
    "given_names",
    "listed",
    "machine",
    "parse_filters",
    "read_meta_mapping",
    "stopped",
    "warn",
    "with_boxes",
    "write_json",
]

Corners = tuple[float, float, float, float]

# 128 + SIGINT.
INTERRUPTED = 130
_MAX_LISTED = 12

GalleryFolder = Annotated[
    Path | None,
    typer.Option("--gallery", "-g", help="Folder of the gallery (default: camsearch-gallery)."),
]
Device = Annotated[
    str | None, typer.Option(help="Device of the network: cpu, or cuda:0 (default: cpu).")
]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(help="auto: bfloat16 if the CPU supports it (default: auto)."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Skip files in folders whose name or path matches this glob ('*_small.jpg', "
        "'drafts'); may be repeated."
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write the results to this file as JSON; - to print them."),
]
MetaMapping = Annotated[
    Path | None,
    typer.Option(
        help='JSON file with mappings of your fields: {"inv": {"type": "keyword"}, "taken": '
        '{"type": "date"}}.'
    ),
]


def given_names(ctx: typer.Context) -> set[str]:
    """The options given on the command line, such as ``--read-only``."""
    return {f"--{name.replace('_', '-')}" for name in ctx.params if _is_given(ctx, name)}


def _is_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def gallery_folder(given: Path | None) -> Path:
    """The given gallery, or the one in the settings."""
    return given or read_settings().gallery


def machine(device: str | None = None, precision: PrecisionOption = None) -> Machine:
    """The machine of the settings; the arguments override them."""
    from descriptors.images import ImageLimits
    from descriptors.machine import Machine

    settings: CommandSettings = read_settings()
    return Machine(
        device=device or settings.device,
        precision=precision or settings.precision,
        batch_size=settings.batch_size,
        readers=settings.readers,
        limits=ImageLimits(settings.max_bytes, settings.max_pixels),
    )


def with_boxes(images: list[Path], boxes: list[str] | None) -> list[tuple[Path, Corners | None]]:
    """Each image with its box, ``x0,y0,x1,y1``, or without one for ``full``.

    Raises:
        RequestError: a box is not valid, or there are not as many as images.
    """
    if boxes and len(boxes) != len(images):
        raise RequestError(
            f"There are {len(boxes)} boxes for {len(images)} images: give one for each, in their "
            "order; full stands for a whole image."
        )
    parsed = [_parse_box(text) for text in boxes or ["full"] * len(images)]
    return list(zip(images, parsed, strict=True))


def _parse_box(text: str) -> Corners | None:
    if text == "full":
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RequestError(
            f"--box {text!r} is not a box: write x0,y0,x1,y1 in pixels, such as 40,12,300,280."
        ) from error
    return x0, y0, x1, y1


def parse_filters(pairs: list[str]) -> Filter | None:
    """Parse ``field=value`` pairs or Elasticsearch's JSON into a filter that requires them all."""
    from galleries.filters import And, Term, parse_filter

    parts: list[Filter] = []
    for pair in pairs:
        if pair.lstrip().startswith("{"):
            try:
                parts.append(parse_filter(json.loads(pair)))
            except (json.JSONDecodeError, RecursionError) as error:
                raise RequestError(f"--filter {pair!r} is not valid JSON: {error}.") from error
            continue
        field, equals, value = pair.partition("=")
        if not equals or not field:
            raise RequestError(
                f"--filter {pair!r} is not valid: write field=value, such as meta.city=Paris, "
                "or a filter as Elasticsearch's JSON."
            )
        parts.append(Term(field, value))
    return And(tuple(parts)) if parts else None


def read_meta_mapping(path: Path | None) -> dict[str, Any] | None:
    """Read the mapping of the caller's fields from a file.

    Raises:
        RequestError: the file cannot be read, or is not a JSON object of objects.
    """
    if path is None:
        return None
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
        return {name: {**field} for name, field in {**mapping}.items()}
    except (OSError, ValueError, TypeError) as error:
        raise RequestError(
            f"--meta-mapping {path} cannot be read ({error}): "
            'write {"inv": {"type": "keyword"}} into it.'
        ) from error


def listed(names: list[str]) -> str:
    """The first twelve names in a line, and the number of the others."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return (", ".join(names[:_MAX_LISTED]) or "none") + more


def warn(sentence: str) -> None:
    """Print a warning."""
    typer.echo(f"warning: {sentence}", err=True)


@contextmanager
def stopped(say: Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C print what is kept, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(say(), err=True)
        raise typer.Exit(INTERRUPTED) from None


def check_writable(path: Path, what: str) -> None:
    """Make the folder of a file that a long run writes at its end, and try to open the file.

    Raises:
        RequestError: it cannot be written.
    """
    with written(f"{what} {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        path.open("ab").close()
        if not there:
            path.unlink()


def write_json(path: Path | None, content: object) -> None:
    """Write results to a file, or print them for ``-``."""
    if path is None:
        return
    text = json.dumps(content, indent=2)
    if str(path) == "-":
        typer.echo(text)
        return
    with written(f"--json {path}"):
        path.write_text(text + "\n")
