"""`camsearch gallery`: the indices of a gallery in Elasticsearch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from camsearch.commands import options
from camsearch.commands.enqueue import Detach, GalleryName, send_and_follow
from camsearch.settings import read_settings
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from es_mappings.elastic import ElasticGallery
    from es_mappings.indices import IndexPlan
    from indexer.sources import Source

__all__ = ["app"]

app = typer.Typer(
    help="Create, check, rebuild and drop a gallery in Elasticsearch.", no_args_is_help=True
)

_ASK = 500

Item = TypeVar("Item")

Layers = Annotated[str | None, typer.Option(help="Layers and dimensions: mid:256,last:256.")]
Side = Annotated[int | None, typer.Option(help="Working size in pixels.")]
Maps = Annotated[
    str | None,
    typer.Option(
        help="Where feature maps are kept: a folder all machines share, or an fsspec address such "
        "as s3://bucket/maps; without it re-ranking reads the images again."
    ),
]
GraphOption = Annotated[
    str,
    typer.Option(
        "--graph", help="int8_hnsw, hnsw, int4_hnsw, bbq_hnsw, flat or int8_flat: see docs."
    ),
]
Shards = Annotated[int, typer.Option(min=1, help="Primary shards.")]
Replicas = Annotated[int, typer.Option(min=0, help="Copies of each shard on other nodes.")]


@app.command("create", epilog="Example: camsearch gallery create --maps s3://bucket/maps")
def create(
    gallery: GalleryName = None,
    preset: options.Preset = "default",
    network: options.Network = None,
    layers: Layers = None,
    side: Side = None,
    weights: options.Weights = None,
    whitening: options.Whitening = None,
    maps: Maps = None,
    graph: GraphOption = "int8_hnsw",
    shards: Shards = 1,
    replicas: Replicas = 1,
    meta_mapping: options.MetaMapping = None,
) -> None:
    """Create the gallery's index, its aliases and the index of rejects, unless they exist."""
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    about = _about(preset, network, layers, side, weights, whitening, maps)
    plan = _plan(graph, shards, replicas, meta_mapping)
    name = gallery or settings.images
    index = indices.create(servers.elastic(settings), name, about, about["dims"], plan)
    typer.echo(f"The gallery {name} is the index {index}.")


@app.command("list")
def list_indices(gallery: GalleryName = None) -> None:
    """Show the concrete indices of a gallery, and which one is live."""
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    name = gallery or settings.images
    client = servers.elastic(settings)
    live = indices.live_index(client, name)
    there = indices.indices_of(client, name)
    for index in there:
        opened = indices.open_gallery(client, index)
        state = "live" if index == live else "beside"
        typer.echo(f"{index}  {state}  {opened.count()} images  {opened.fingerprint[:16]}")
    if not there:
        typer.echo(f"There is no gallery {name}: create it with `camsearch gallery create`.")
        raise typer.Exit(1)


@app.command("verify")
def verify(
    gallery: GalleryName = None,
    check_method: Annotated[
        bool,
        typer.Option(
            "--method/--no-method", help="Also load the network and compare its fingerprint."
        ),
    ] = True,
) -> None:
    """Report problems of the gallery's indices, with remedies; exit status 1 if searches suffer."""
    from camsearch import servers
    from descriptors.errors import ArtifactError
    from es_mappings.about import method_about
    from es_mappings.errors import ContractError
    from es_mappings.verification import Finding
    from es_mappings.verification import verify as find_mistakes

    settings = read_settings()
    name = gallery or settings.images
    found = find_mistakes(servers.elastic(settings), name)
    if check_method and not found:
        try:
            method_about(servers.open_gallery(settings, name).settings, options.machine())
        except (ContractError, ArtifactError) as error:
            found.append(Finding(error.reason, "See above."))
    for finding in found:
        typer.echo(f"{'error' if finding.fatal else 'warning'}: {finding.problem}")
        typer.echo(f"    {finding.remedy}")
    if not any(finding.fatal for finding in found):
        names = servers.open_gallery(settings, name).meta_names()
        typer.echo(f"Metadata is searched as: {options.listed(names)}.")
    if not found:
        typer.echo(f"The gallery {name} has no problems.")
    if any(finding.fatal for finding in found):
        raise typer.Exit(1)


@app.command("switch")
def switch(
    index: Annotated[str, typer.Argument(help="A concrete index; see `camsearch gallery list`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if images of the live index are missing in it.")
    ] = False,
) -> None:
    """Point searches and workers at another concrete index, in one step."""
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    client = servers.elastic(settings)
    name, _ = indices.target_of(index)
    # By force, since the alias may stand for several, which is what a switch mends.
    live = None if force else indices.live_index(client, name)
    target = indices.open_gallery(client, index)
    if live is not None and live != index and not force:
        missing = sum(1 for _ in _missing(indices.open_gallery(client, live), target))
        if missing:
            raise RequestError(
                f"{missing} images of {live} are not in {index} yet: run `camsearch gallery "
                f"rebuild --into {index}` to index them, or switch anyway with --force."
            )
    indices.switch(client, name, index)
    typer.echo(f"{name} is {index} now. The old index stays: see `camsearch gallery list`.")


@app.command("rebuild", epilog="Example: camsearch gallery rebuild --network resnet50 …")
def rebuild(
    gallery: GalleryName = None,
    into: Annotated[
        str | None, typer.Option(help="Continue with an index that an earlier rebuild created.")
    ] = None,
    preset: options.Preset = "default",
    network: options.Network = None,
    layers: Layers = None,
    side: Side = None,
    weights: options.Weights = None,
    whitening: options.Whitening = None,
    maps: Maps = None,
    graph: GraphOption = "int8_hnsw",
    shards: Shards = 1,
    replicas: Replicas = 1,
    meta_mapping: options.MetaMapping = None,
    detach: Detach = False,
) -> None:
    """Index all images again beside the live index, with other settings or another network.

    Searches use the live index meanwhile. Afterwards: camsearch gallery switch INDEX.
    """
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    name = gallery or settings.images
    client = servers.elastic(settings)
    live = indices.open_gallery(client, name)
    index = into
    if index is None:
        about = _about(preset, network, layers, side, weights, whitening, maps)
        plan = _plan(graph, shards, replicas, meta_mapping)
        index = indices.create_beside(client, name, about, about["dims"], plan)
        typer.echo(f"New index {index}; searches still use {live.index}.")
    target = indices.open_gallery(client, index)
    # All of them first: sending may wait for workers longer than a listing stays open.
    rest = f"`camsearch gallery rebuild --into {index}`"
    send_and_follow(settings, list(_missing(live, target)), index, detach=detach, rest=rest)
    typer.echo(f"When it is complete: camsearch gallery switch {index}")


@app.command("reconcile", epilog="Example: camsearch gallery reconcile manifest.csv")
def reconcile(
    paths: Annotated[
        list[Path],
        typer.Argument(help="What should be in the gallery: folders, images, a manifest."),
    ],
    gallery: GalleryName = None,
    delete_others: Annotated[
        bool,
        typer.Option("--delete-others", help="Delete what is in the gallery but not named here."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what differs.")] = False,
    detach: Detach = False,
) -> None:
    """Compare the gallery with what should be in it, and send the difference to the workers."""
    from camsearch import servers
    from es_mappings.about import features_of
    from indexer.manifests import sources_in

    settings = read_settings()
    name = gallery or settings.images
    opened = servers.open_gallery(settings, name)
    wanted: set[str] = set()
    broken = list(opened.without_descriptor())
    if broken and not dry_run:
        # Nobody finds them, and as long as they stand their pictures pass for indexed.
        opened.delete(broken)
    sources = list(sources_in(paths, options.warn, mapping=opened.meta_properties))
    different = list(_different(sources, opened, wanted))
    others = [document.id for document in opened.documents() if document.id not in wanted]
    if broken:
        typer.echo(f"{len(broken)} documents have no descriptor, so no search finds them.")
    typer.echo(
        f"{len(wanted)} images wanted; {len(different)} are new or have changed, "
        f"{len(others)} others are in the gallery."
    )
    if dry_run:
        return
    features = features_of(opened.settings)
    if features is not None and (left := features.sweep()):
        typer.echo(f"{left} half-written files of maps are removed.")
    if delete_others and others:
        _check_whole(sources)
        if not yes:
            typer.confirm(f"Delete {len(others)} of the gallery's images?", abort=True)
        opened.delete(others)
        if features is not None:
            features.delete(others)
        typer.echo(f"{len(others)} deleted.")
    if features is not None:
        features.close()
    if different:
        send_and_follow(settings, different, name, detach=detach)


@app.command("drop")
def drop(
    gallery: GalleryName = None,
    index: Annotated[
        str | None, typer.Option(help="Only this concrete index, which must not be live.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a gallery with all its indices, or one index of it. Feature maps stay."""
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    name = gallery or (indices.target_of(index)[0] if index else settings.images)
    if not yes:
        typer.confirm(f"Delete {index or f'the gallery {name} with all its indices'}?", abort=True)
    for gone in indices.drop(servers.elastic(settings), name, index):
        typer.echo(f"deleted {gone}")


def _about(
    preset: str,
    network: str | None,
    layers: str | None,
    side: int | None,
    weights: Path | None,
    whitening: Path | None,
    maps: str | None,
) -> dict[str, Any]:
    from descriptors.machine import method_of
    from descriptors.settings import RegionSettings
    from es_mappings.about import about_method

    chosen = options.method_settings(preset, network, layers, side=side)
    weights = options.weight_file(weights, chosen.network)
    method = method_of(chosen, whitening, weights, options.machine())
    if maps is not None and "://" not in maps:
        maps = str(Path(maps).absolute())
    return about_method(
        method, RegionSettings.preset(preset), whitening=whitening, weights=weights, maps=maps
    )


def _plan(graph: str, shards: int, replicas: int, meta_mapping: Path | None) -> IndexPlan:
    from es_mappings.indices import Graph, IndexPlan

    graphs = get_args(Graph)
    if graph not in graphs:
        raise RequestError(f"--graph {graph} is unknown: choose one of {', '.join(graphs)}.")
    mapping = options.read_meta_mapping(meta_mapping)
    return IndexPlan(graph, shards, replicas, mapping)  # type: ignore[arg-type] # checked above


def _missing(live: ElasticGallery, target: ElasticGallery) -> Iterator[Source]:
    """Images and rejects of the live index that another one does not contain yet."""
    from indexer.sources import Source

    for page in _pages(live.documents()):
        known = target.known([document.id for document in page])
        refused = target.known_rejects([document.id for document in page])
        for document in page:
            there = known.get(document.id)
            newer = there is not None and there.revision >= document.revision
            if not newer and document.id not in refused:
                yield Source(document.id, document.uri, document.meta, revision=document.revision)


def _different(
    sources: Iterable[Source], opened: ElasticGallery, wanted: set[str]
) -> Iterator[Source]:
    """Sources that differ from the gallery; the ids of all sources are recorded."""
    from indexer.reading import tag_of, would_be_refused

    limits = options.machine().limits
    for page in _pages(sources):
        ids = [source.id for source in page]
        wanted.update(ids)
        known, refused = opened.known(ids), opened.known_rejects(ids)
        for source in page:
            there, tag = known.get(source.id), tag_of(source)
            same = there is not None and (there.source_tag, there.meta) == (tag, source.meta)
            if source.id in refused:
                made_of = refused[source.id]
                same = would_be_refused(source, tag, made_of, limits, opened.meta_mapping)
            if not (same and tag):
                yield source


def _check_whole(sources: Sequence[Source]) -> None:
    """Refuse to delete by a list that may be incomplete: an unmounted disk is empty."""
    problems = [source.problem for source in sources if source.problem is not None]
    if not sources or problems:
        what = problems[0].reason if problems else "There is no image at these paths."
        raise RequestError(
            f"Nothing is deleted, since the list of what should be there may be incomplete. {what}"
        )


def _pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    stream = iter(items)
    while page := list(islice(stream, _ASK)):
        yield page
