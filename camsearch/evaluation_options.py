"""The options of `camsearch evaluate`, checked before a long measurement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camsearch.commands.method_options import method_settings, weight_file, window_count
from camsearch.commands.options import check_writable
from descriptors.backbones import find_network, load_network
from descriptors.encoder import Encoder
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from evaluation.datasets.catalogue import DATASETS, FitOn, read_dataset
from evaluation.runs import About
from reranker.explain.pages import check_suffix

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from camsearch.commands.evaluate import EvaluateOptions
    from descriptors.machine import Machine
    from descriptors.settings import MethodSettings
    from evaluation.trials import Progress, Trial

__all__ = [
    "Asked",
    "at_size",
    "check_json_path",
    "check_networks",
    "check_report",
    "check_together",
]
__all__ += ["the_folder", "trials_of", "weight_files"]


# Options without effect beside another: tables have their own settings and systems.
_NOT_WITH_TABLE = (
    *("--preset", "--layers", "--classes", "--windows", "--classes-from", "--learned"),
    *("--systems", "--ablate", "--queries-of", "--report", "--compare"),
)
_NOT_WITH_THROUGH = (
    *_NOT_WITH_TABLE,
    *("--fit-on", "--distractors", "--stream", "--max-side", "--network", "--weights", "--table"),
)
_NOT_WITH_ABLATE = ("--systems", "--compare")
_NOT_WITH_LEARNED = ("--ablate",)
_NOT_WITH_NETWORKS = ("--systems", "--table", "--ablate", "--report", "--compare")


def check_networks(names: Sequence[str], here: Collection[str]) -> None:
    """Refuse a network that is named twice, and options (`here`) that are for one network.

    Raises:
        RequestError: naming them.
    """
    if len(names) > 1:
        _refuse("several --network", _NOT_WITH_NETWORKS, here)
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"--network {name} is named twice: name each network once.")


def check_together(dataset: str, here: Collection[str]) -> None:
    """Refuse options (`here`, by name) that have no effect together.

    Raises:
        RequestError: naming these options.
    """
    for option, needed in (("--index", "--through"), ("--queries-of", "--ablate")):
        if option in here and needed not in here:
            raise RequestError(f"{option} has no effect without {needed}: add it or remove it.")
    if "--classes-from" in here or "--learned" in here:
        _refuse("--classes-from or --learned", _NOT_WITH_LEARNED, here)
    if "--through" in here:
        if dataset != "photos":
            raise RequestError("--through needs the dataset photos: evaluate that one.")
        _refuse("--through", _NOT_WITH_THROUGH, here)
    elif "--table" in here:
        _refuse("--table", _NOT_WITH_TABLE, here)
    elif "--ablate" in here and "--report" not in here:
        _refuse("--ablate (without --report)", _NOT_WITH_ABLATE, here)


def _refuse(option: str, idle: Sequence[str], given: Collection[str]) -> None:
    named = [name for name in idle if name in given]
    if named:
        raise RequestError(f"{', '.join(named)} has no effect with {option}: remove one of them.")


def the_folder(folder: Path | None, root: Path | None) -> Path:
    """The folder of the dataset.

    Raises:
        RequestError: if it is given twice or not at all.
    """
    if folder is not None and root is not None:
        raise RequestError(f"Two folders are given, {folder} and {root}: remove one of them.")
    place = folder or root
    if place is None:
        raise RequestError("No folder is given: write it after the dataset, or as --root DIR.")
    return place


def check_report(path: Path) -> None:
    """Check that a report can be written.

    Raises:
        RequestError: for another suffix than ``.html``, or if it cannot be written.
    """
    check_suffix(path)
    check_writable(path, "--report")


def check_json_path(path: Path | None) -> None:
    """Raise `RequestError` if the folder of a JSON file is missing."""
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(
            f"The results cannot be written to {path}: there is no folder {path.parent}."
        )


def weight_files(given: Sequence[str]) -> tuple[Path | None, Mapping[str, Path]]:
    """Parse ``FILE`` and ``NETWORK=FILE``: the file for any network, and files by network.

    Raises:
        RequestError: for an unknown network, or two files for the same one.
    """
    plain: Path | None = None
    named: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        # A path may contain "=", too.
        network = name if equals and not Path(text).exists() else ""
        if network:
            find_network(network)
        if network in named or (not network and plain is not None):
            raise RequestError(
                f"--weights {text} is a second file for {network or 'any network'}: give one, or "
                "write NETWORK=FILE."
            )
        if network:
            named[network] = Path(file)
        else:
            plain = Path(text)
    return plain, named


def at_size(settings: MethodSettings, max_side: int | None) -> MethodSettings:
    """The settings with another working size, if one is given."""
    if max_side is None:
        return settings
    size = {"side": max_side, "side_is": "longer", "side_multiple": 32}
    return settings.model_copy(update=size)


@dataclass(frozen=True)
class Asked:
    """What `camsearch evaluate` is asked for.

    Attributes:
        dataset: a name in `DATASETS`, or paper.
        cache: folder of feature maps.
        options: of the command line.
    """

    dataset: str
    folder: Path
    machine: Machine
    cache: Path
    options: EvaluateOptions

    @property
    def network(self) -> str | None:
        """The network that is named, if one is."""
        return self.options.network[0] if self.options.network else None

    @property
    def settings(self) -> MethodSettings:
        """Settings of the method.

        Convention:
            On the default network both presets use both layers, 8 classes and the same working
            size, so that results are comparable; other networks use their own.
        """
        given = self.options
        changed: dict[str, Any] = {"n_classes": given.classes, "n_pca": given.classes}
        changed["windows"] = window_count(given.windows)
        layers, side = given.layers, given.max_side
        if self.network is None:
            default = method_settings("default")
            if layers is None:
                layers = ",".join(f"{layer.name}:{layer.dims}" for layer in default.layers)
            if given.classes is None:
                changed |= {"n_classes": default.n_classes, "n_pca": default.n_pca}
            side = default.side if side is None else side
        if side is not None:
            changed |= {"side": side, "side_is": "longer", "side_multiple": 32}
        return method_settings(given.preset, self.network, layers, **changed)

    @property
    def regions(self) -> RegionSettings:
        """Settings of re-ranking."""
        return RegionSettings.preset(self.options.preset)

    @property
    def about(self) -> About:
        """What is measured, for display."""
        queries = self.options.queries or DATASETS[self.dataset].queries
        return About(self.dataset, str(self.folder), queries, self.options.fit_on)

    def trials(self, show: Progress) -> tuple[Trial, ...]:
        """The trials of the dataset."""
        return trials_of(self, self.dataset, self.folder, self.options.fit_on, show)

    def encoder(self, settings: MethodSettings) -> Encoder:
        """The network with its weights.

        Raises:
            ArtifactError: if the weights are missing.
        """
        plain, named = weight_files(self.options.weights or ())
        weights = weight_file(named.get(settings.network, plain), settings.network)
        loaded = load_network(settings.network, weights)
        return Encoder(loaded, settings, self.machine.device, self.machine.precision)


def trials_of(
    asked: Asked, name: str, folder: Path, fit_on: str | None, show: Progress
) -> tuple[Trial, ...]:
    """The trials of a dataset, with the options of the command line.

    Raises:
        RequestError: see `read_dataset`.
    """
    if name == "paper":
        raise RequestError("The dataset paper is for the paper's tables: add --table paper.")
    return read_dataset(
        name,
        folder,
        queries=asked.options.queries,
        fit_on=None if fit_on is None else FitOn.parse(fit_on, name),
        distractors=asked.options.distractors,
        stream=asked.options.stream,
        cache=asked.cache,
        progress=show,
    )
