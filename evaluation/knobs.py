"""The settings that an ablation varies, one at a time, and the values it tries by default.

To vary another setting, add a row to `KNOBS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from descriptors.errors import RequestError
from descriptors.settings import MethodSettings, RegionSettings
from evaluation.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["KNOBS", "Choice", "Knob", "Setup", "chosen_knobs", "stage_of"]


@dataclass(frozen=True)
class Setup:
    """One way to search, whole.

    Attributes:
        settings: of the descriptors.
        regions: of the re-ranking.
        stage: what is done with them.
    """

    settings: MethodSettings
    regions: RegionSettings
    stage: Stage

    @property
    def first(self) -> Setup:
        """The same without the re-ranking."""
        return replace(self, stage=stage_of(0, self.stage.expand, self.stage.alpha))


@dataclass(frozen=True)
class Knob:
    """One setting that can be varied.

    Attributes:
        values: that are tried by default, as they are written on the command line.
        apply: a setup with a value in the place of its own.
        read: the value that a setup has, as it is written.
        reranked: whether it shows only after the re-ranking; else it is judged by the first
            search and its expansion, which take a fraction of the time.
        encodes: whether every photo must pass the network anew.
    """

    values: tuple[str, ...]
    apply: Callable[[Setup, str], Setup]
    read: Callable[[Setup], str]
    reranked: bool = False
    encodes: bool = False


@dataclass(frozen=True)
class Choice:
    """A knob by its name, with the values to try."""

    name: str
    knob: Knob
    values: tuple[str, ...]


def stage_of(window: int, expand: int, alpha: float = 0.0) -> Stage:
    """A stage under the name that the tables give it."""
    parts = [f"R{window}" if window else "first"]
    if expand:
        parts.append(f"QE{expand}" + (f"^{alpha:g}" if alpha else ""))
    return Stage("+".join(parts), window, expand, alpha=alpha)


def chosen_knobs(text: str) -> tuple[Choice, ...]:
    """What ``n_classes,dims=128,256,power`` asks for; ``all`` is all that encodes nothing.

    Convention:
        Values follow their setting's name and ``=``; within one value ``+`` separates numbers.

    Raises:
        RequestError: for a setting that is not known, or no value.
    """
    if text.strip() == "all":
        names = [name for name, knob in KNOBS.items() if not knob.encodes]
        return tuple(Choice(name, KNOBS[name], KNOBS[name].values) for name in names)
    wanted: dict[str, list[str]] = {}
    name = ""
    for part in (part.strip() for part in text.split(",")):
        head, equals, value = part.partition("=")
        if equals or head in KNOBS:
            name = head.strip()
            wanted[name] = [value.strip()] if equals else []
        elif name and wanted[name]:
            wanted[name].append(part)
        else:
            name = head
            wanted[name] = []
    unknown = [name for name in wanted if name not in KNOBS]
    if unknown:
        raise RequestError(
            f"--ablate knows no setting {unknown[0]!r}: choose among {', '.join(KNOBS)}."
        )
    return tuple(
        Choice(name, KNOBS[name], tuple(values) or KNOBS[name].values)
        for name, values in wanted.items()
    )


def _settings(field: str, kind: Callable[[str], Any] = int) -> dict[str, Any]:
    """How a field of `MethodSettings` is set and read."""

    def apply(setup: Setup, value: str) -> Setup:
        settings = setup.settings.model_dump() | {field: _parsed(kind, field, value)}
        return replace(setup, settings=_checked(MethodSettings, settings, field, value))

    return {"apply": apply, "read": lambda setup: _written(getattr(setup.settings, field))}


def _regions(field: str, kind: Callable[[str], Any] = int) -> dict[str, Any]:
    """How a field of `RegionSettings` is set and read."""

    def apply(setup: Setup, value: str) -> Setup:
        regions = setup.regions.model_dump() | {field: _parsed(kind, field, value)}
        return replace(setup, regions=_checked(RegionSettings, regions, field, value))

    def read(setup: Setup) -> str:
        return _written(getattr(setup.regions, field))

    return {"apply": apply, "read": read, "reranked": True}


def _stage(field: str, kind: Callable[[str], Any] = int) -> dict[str, Any]:
    """How a number of the stage is set and read."""

    def apply(setup: Setup, value: str) -> Setup:
        numbers = {name: getattr(setup.stage, name) for name in ("window", "expand", "alpha")}
        numbers[field] = _parsed(kind, field, value)
        if min(numbers.values()) < 0:
            raise RequestError(f"{field} cannot be {value}: name a number of 0 or more.")
        return replace(setup, stage=stage_of(**numbers))

    return {"apply": apply, "read": lambda setup: _written(getattr(setup.stage, field))}


def _parsed(kind: Callable[[str], Any], field: str, value: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise RequestError(
            f"--ablate {field}={value} is not usable ({error}): write a value as the others are, "
            "see docs/evaluation.md."
        ) from error


def _checked(kind: type[Any], fields: Mapping[str, Any], field: str, value: str) -> Any:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise RequestError(
            f"--ablate {field}={value} cannot work ({error.errors()[0]['msg']}): choose another."
        ) from error


def _written(value: object) -> str:
    """A value as the command line takes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return "+".join(_written(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("it is on or off")
    return text == "on"


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("+"))


def _with_dims(setup: Setup, value: str) -> Setup:
    """So many dimensions in all, shared out as the layers share them now."""
    layers, dims = setup.settings.layers, _parsed(int, "dims", value)
    shares = [max(1, round(dims * layer.dims / setup.settings.dims)) for layer in layers]
    return _with_layers(setup, [(layer.name, n) for layer, n in zip(layers, shares, strict=True)])


def _with_named_layers(setup: Setup, value: str) -> Setup:
    """``mid:256+last:256``; without numbers the dimensions are shared out evenly."""
    parts = [part.partition(":") for part in value.split("+")]
    share = setup.settings.dims // len(parts)
    return _with_layers(
        setup, [(name, _parsed(int, "layers", n) if n else share) for name, _, n in parts]
    )


def _with_layers(setup: Setup, layers: Sequence[tuple[str, int]]) -> Setup:
    fields = setup.settings.model_dump()
    fields["layers"] = [{"name": name, "dims": dims} for name, dims in layers]
    settings = _checked(MethodSettings, fields, "layers", str(layers))
    return replace(setup, settings=settings)


def _layer_names(setup: Setup) -> str:
    return "+".join(f"{layer.name}:{layer.dims}" for layer in setup.settings.layers)


KNOBS: Mapping[str, Knob] = MappingProxyType(
    {
        "n_classes": Knob(("1", "2", "4", "8", "16", "32", "64"), **_settings("n_classes")),
        "n_pca": Knob(("2", "4", "8", "16"), **_settings("n_pca")),
        "dims": Knob(
            ("64", "128", "256", "512", "1024"), _with_dims, lambda setup: str(setup.settings.dims)
        ),
        "power": Knob(("0.3", "0.5", "0.7", "1"), **_settings("power", float)),
        "weight_floor": Knob(
            ("0", "0.05", "0.1", "0.2", "0.5"), **_settings("weight_floor", float)
        ),
        "centring_prior": Knob(("off", "on"), **_settings("centring_prior", _switch)),
        "probability_weights": Knob(("off", "on"), **_settings("probability_weights", _switch)),
        "qe": Knob(("0", "3", "5", "10", "20"), **_stage("expand")),
        "alpha": Knob(("0", "1", "3"), **_stage("alpha", float)),
        "window": Knob(("0", "25", "50", "100", "200"), **_stage("window"), reranked=True),
        "region_classes": Knob(("2", "4", "8", "12"), **_regions("n_classes")),
        "heat_map_classes": Knob(("1", "2", "4"), **_regions("heat_map_classes")),
        "thresholds": Knob(
            ("0.01", "0.01+0.2", "0.01+0.1+0.2+0.3+0.4", "0.1+0.3+0.5", "0.2+0.4+0.6"),
            **_regions("thresholds", _numbers),
        ),
        "least_side": Knob(("48", "80", "128"), **_regions("least_side")),
        "whole_picture": Knob(("off", "on"), **_regions("whole_picture", _switch)),
        "expand_with_regions": Knob(("off", "on"), **_regions("expand_with_regions", _switch)),
        "remember_regions": Knob(("off", "on"), **_regions("remember_regions", _switch)),
        "side": Knob(("320", "416", "512", "640"), **_settings("side"), encodes=True),
        "layers": Knob(("mid", "last", "mid+last"), _with_named_layers, _layer_names, encodes=True),
    }
)
