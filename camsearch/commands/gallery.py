"""`camsearch gallery`: manage a gallery in Elasticsearch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from camsearch.commands import options
from camsearch.commands.enqueue import Detach, GalleryName, send_and_follow
from camsearch.commands.grouped import grouped
from camsearch.commands.method_options import MethodOptions
from camsearch.commands.reconcile import EXAMPLE as RECONCILE_EXAMPLE
from camsearch.commands.reconcile import reconcile
from camsearch.settings import read_settings
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from descriptors.settings import MethodSettings
    from es_mappings.indices import IndexPlan

__all__ = ["app"]

app = typer.Typer(
    help="Create, check, rebuild and drop a gallery in Elasticsearch.", no_args_is_help=True
)
app.command("reconcile", epilog=RECONCILE_EXAMPLE)(reconcile)


@dataclass(frozen=True)
class IndexOptions:
    """An index in Elasticsearch."""

    maps: Annotated[
        str | None,
        typer.Option(
            help="Where to store feature maps, for re-ranking by maps: a folder that all machines "
            "share, or an fsspec address such as s3://bucket/maps (default: none are stored)."
        ),
    ] = None
    graph: Annotated[
        str,
        typer.Option(help="Index type: int8_hnsw, hnsw, int4_hnsw, bbq_hnsw, flat or int8_flat."),
    ] = "int8_hnsw"
    profile: Annotated[
        str,
        typer.Option(
            help="Index of windows: rerank compares them exactly; search has a graph, for first "
            "searches by windows in large galleries, and writes ten times slower."
        ),
    ] = "rerank"
    shards: Annotated[int, typer.Option(min=1, help="Primary shards.")] = 1
    replicas: Annotated[int, typer.Option(min=0, help="Copies of each shard on other nodes.")] = 1
    meta_mapping: options.MetaMapping = None

    def plan(self) -> IndexPlan:
        """The options of a new index.

        Raises:
            RequestError: an unknown type or profile, or a mapping that cannot be read.
        """
        from es_mappings.indices import Graph, IndexPlan
        from es_mappings.windows import PROFILES

        graphs = get_args(Graph)
        for option, given, known in (
            ("--graph", self.graph, graphs),
            ("--profile", self.profile, PROFILES),
        ):
            if given not in known:
                raise RequestError(
                    f"{option} {given} is unknown: choose one of {', '.join(known)}."
                )
        mapping = options.read_meta_mapping(self.meta_mapping)
        # Checked above.
        return IndexPlan(self.graph, self.shards, self.replicas, mapping, self.profile)  # type: ignore[arg-type]


@app.command("create", epilog="Example: camsearch gallery create --windows 30")
@grouped
def create(
    gallery: GalleryName = None,
    *,
    chosen: MethodOptions,
    stored: IndexOptions,
) -> None:
    """Create the gallery's index, aliases and index of rejects, unless they exist.

    An existing gallery keeps its windows.
    """
    from camsearch import servers
    from es_mappings import indices
    from galleries.about import with_windows_of

    settings, plan = read_settings(), stored.plan()
    name = gallery or settings.images
    client = servers.elastic(settings)
    described = chosen.settings()
    if chosen.windows is None and indices.live_index(client, name) is not None:
        described = with_windows_of(indices.open_gallery(client, name).settings, described)
    about = _about(chosen, described, stored)
    index = indices.create_gallery(client, name, about, about["dims"], plan)
    typer.echo(f"The gallery {name} is the index {index}.")


@app.command("list")
def list_indices(gallery: GalleryName = None) -> None:
    """List the concrete indices of a gallery, and which one is live."""
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
    """Report problems of the gallery's indices with remedies; exits with 1 if searches fail."""
    from camsearch import servers
    from descriptors.errors import ArtifactError
    from es_mappings import indices
    from es_mappings.verification import Finding, verify_gallery
    from galleries.about import method_about
    from galleries.errors import ContractError

    settings = read_settings()
    name = gallery or settings.images
    client = servers.elastic(settings)
    found = verify_gallery(client, name)
    if not any(finding.fatal for finding in found):
        with indices.open_gallery(client, name) as opened:
            if check_method and not found:
                try:
                    method_about(opened.settings, options.machine())
                except (ContractError, ArtifactError) as error:
                    found.append(Finding(error.reason, "See above."))
            names = opened.meta_names()
    fatal = any(finding.fatal for finding in found)
    for finding in found:
        typer.echo(f"{'error' if finding.fatal else 'warning'}: {finding.problem}")
        typer.echo(f"    {finding.remedy}")
    if not fatal:
        typer.echo(f"Metadata is searched as: {options.listed(names)}.")
    if not found:
        typer.echo(f"The gallery {name} has no problems.")
    if fatal:
        raise typer.Exit(1)


@app.command("switch")
def switch(
    index: Annotated[str, typer.Argument(help="A concrete index; see `camsearch gallery list`.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if it lacks images of the live index.")
    ] = False,
) -> None:
    """Point searches and workers at another concrete index, in one step."""
    from camsearch import servers
    from es_mappings import indices
    from indexer.differences import missing

    settings = read_settings()
    client = servers.elastic(settings)
    name, _ = indices.target_of(index)
    # With --force the alias may point to several indices, which a switch repairs.
    live = None if force else indices.live_index(client, name)
    target = indices.open_gallery(client, index)
    if live is not None and live != index and not force:
        count = sum(1 for _ in missing(indices.open_gallery(client, live), target))
        if count:
            raise RequestError(
                f"{count} images of {live} are not in {index} yet: run `camsearch gallery "
                f"rebuild --into {index}` to index them, or switch anyway with --force."
            )
    indices.switch_gallery(client, name, index)
    typer.echo(f"{name} is now {index}. The old index is kept: see `camsearch gallery list`.")


@app.command("rebuild", epilog="Example: camsearch gallery rebuild --network resnet50 …")
@grouped
def rebuild(
    gallery: GalleryName = None,
    into: Annotated[
        str | None, typer.Option(help="Continue with an index that an earlier rebuild created.")
    ] = None,
    *,
    chosen: MethodOptions,
    stored: IndexOptions,
    detach: Detach = False,
) -> None:
    """Index all images into a new index, with other settings or another network.

    Searches use the live index until you run camsearch gallery switch INDEX.
    """
    from camsearch import servers
    from es_mappings import indices
    from indexer.differences import missing

    settings = read_settings()
    name = gallery or settings.images
    client = servers.elastic(settings)
    live = indices.open_gallery(client, name)
    index = into
    if index is None:
        plan, about = stored.plan(), _about(chosen, chosen.settings(), stored)
        index = indices.create_beside(client, name, about, about["dims"], plan)
        typer.echo(f"New index {index}; searches still use {live.index}.")
    target = indices.open_gallery(client, index)
    # Listed first, since sending may outlast the open listing.
    rest = f"`camsearch gallery rebuild --into {index}`"
    send_and_follow(settings, list(missing(live, target)), index, detach=detach, rest=rest)
    typer.echo(f"When it is complete: camsearch gallery switch {index}")


@app.command("drop")
def drop(
    gallery: GalleryName = None,
    index: Annotated[
        str | None, typer.Option(help="Only this concrete index, which must not be live.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a gallery with all its indices, or one of its indices. Feature maps are kept."""
    from camsearch import servers
    from es_mappings import indices

    settings = read_settings()
    name = gallery or (indices.target_of(index)[0] if index else settings.images)
    if not yes:
        typer.confirm(f"Delete {index or f'the gallery {name} with all its indices'}?", abort=True)
    for gone in indices.drop_gallery(servers.elastic(settings), name, index):
        typer.echo(f"deleted {gone}")


def _about(
    chosen: MethodOptions, described: MethodSettings, stored: IndexOptions
) -> dict[str, Any]:
    """The description of the method that is stored in an index."""
    from descriptors.machine import method_of
    from descriptors.settings import RegionSettings
    from galleries.about import about_method

    weights, maps = chosen.weight_file(), stored.maps
    method = method_of(described, chosen.whitening, weights, options.machine())
    if maps is not None and "://" not in maps:
        maps = str(Path(maps).absolute())
    return about_method(
        method,
        RegionSettings.preset(chosen.preset),
        whitening=chosen.whitening and chosen.whitening.absolute(),
        weights=weights and weights.absolute(),
        maps=maps,
    )
