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
    from descriptors.settings import MethodSettings
    from galleries.filters import Filter

__all__ = [
    "INTERRUPTED",
    "BoxOption",
    "Device",
    "Exclude",
    "GalleryFolder",
    "JsonFile",
    "Layers",
    "MetaMapping",
    "Network",
    "Precision",
    "Preset",
    "Side",
    "Weights",
    "Whitening",
    "Windows",
    "check_writable",
    "gallery_folder",
    "is_given",
    "listed",
    "machine",
    "method_settings",
    "parse_box",
    "parse_filters",
    "read_meta_mapping",
    "stopped",
    "warn",
    "weight_file",
    "window_count",
    "write_json",
]

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
Precision = Annotated[
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
Preset = Annotated[str, typer.Option(help="default, or paper (the published method).")]
Network = Annotated[
    str | None,
    typer.Option(help="Another network: see docs/networks.md, or timm:NAME for a timm network."),
]
Layers = Annotated[
    str | None, typer.Option(help="Feature layers and dimensions: mid:256,last:256.")
]
Side = Annotated[int | None, typer.Option(help="Working size in pixels.")]
Windows = Annotated[
    Literal["none", "5", "14", "30", "66", "130"] | None,
    typer.Option(
        help="Windows of each image in the index, the whole image included: the more, the smaller "
        "the things that are found (default: the preset's, 14; an existing gallery's own)."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Local weight file, for a network without packaged weights; 'download' fetches "
        "torchvision's."
    ),
]
Whitening = Annotated[
    Path | None,
    typer.Option(help="A whitening made by `camsearch fit` (default: the packaged one)."),
]
BoxOption = Annotated[
    str | None,
    typer.Option("--box", help="x0,y0,x1,y1 in pixels of the upright image, around one object."),
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


def is_given(ctx: typer.Context, name: str) -> bool:
    """Whether a parameter was given on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def gallery_folder(given: Path | None) -> Path:
    """The given gallery, or the one in the settings."""
    return given or read_settings().gallery


def machine(device: str | None = None, precision: Precision = None) -> Machine:
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


def method_settings(
    preset: str,
    network: str | None = None,
    layers: str | None = None,
    theme: str | None = None,
    **changed: Any,
) -> MethodSettings:
    """The settings of a preset with the options of the command line applied.

    Args:
        preset: default or paper.
        network: another network, with its own layers and working size.
        layers: such as ``mid:256,last:256``; without numbers, 512 dimensions are divided evenly.
        theme: class names or numbers, separated by commas.
        changed: other fields; None keeps the preset's value.
    """
    from pydantic import ValidationError

    from descriptors.backbones import network_settings
    from descriptors.classes import class_numbers
    from descriptors.errors import SettingsError
    from descriptors.settings import MethodSettings

    settings = network_settings(network, preset) if network else MethodSettings.preset(preset)
    update = {k: v for k, v in changed.items() if v is not None}
    if layers is not None:
        update["layers"] = _layers(layers)
    if theme:
        update["theme"] = class_numbers([name.strip() for name in theme.split(",")])
    try:
        return MethodSettings.model_validate(settings.model_dump() | update)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "together"
        raise SettingsError(
            f"These settings are not valid ({name}: {first['msg']}): choose another value."
        ) from error


def window_count(given: Windows) -> int | None:
    """The number of windows; 0 for ``none``, None if not given."""
    if given is None:
        return None
    return 0 if given == "none" else int(given)


def weight_file(given: Path | None, network: str) -> Path | None:
    """The given weight file, or for ``download`` that of torchvision.

    Raises:
        ArtifactError: if it cannot be downloaded.
    """
    if given != Path("download"):
        return given
    from camsearch.downloads import download_weights
    from descriptors.backbones import find_network

    return download_weights(network, find_network(network))


def _layers(text: str) -> list[dict[str, Any]]:
    names = [part.partition(":") for part in text.split(",")]
    share = 512 // len(names)
    try:
        return [{"name": n.strip(), "dims": int(d) if d else share} for n, _, d in names]
    except ValueError as error:
        raise RequestError(
            f"--layers {text!r} is not valid: write names and dimensions as mid:256,last:256."
        ) from error


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Parse ``x0,y0,x1,y1``."""
    if text is None:
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
