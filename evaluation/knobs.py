"""The settings that an ablation varies one at a time, and their default values.

To vary another setting, add a row to `KNOBS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from descriptors.errors import RequestError
from descriptors.settings import MethodSettings, RegionSettings
from evaluation.searching import Stage, stage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KNOBS", "Setup", "chosen_knobs"]


@dataclass(frozen=True)
class Setup:
    """One complete way to search."""

    settings: MethodSettings
    regions: RegionSettings
    stage: Stage


@dataclass(frozen=True)
class Knob:
    """One setting that can be varied.

    Attributes:
        part: field of a `Setup` that it belongs to.
        values: that are tried by default, as written on the command line.
        parse: from a written value and the method's settings to the field's value.
        encodes: whether every image must be encoded again.
        field: its name in `part`; None for the knob's own.
        reranked: whether it only affects the re-ranking; otherwise it is measured without,
            in a fraction of the time.
    """

    part: Literal["settings", "regions", "stage"]
    values: tuple[str, ...]
    parse: Callable[[str, MethodSettings], Any] = lambda text, _: int(text)
    encodes: bool = False
    field: str | None = None
    reranked: bool = False

    def apply(self, name: str, setup: Setup, value: str) -> Setup:
        """A setup with another value.

        Raises:
            RequestError: for an impossible value.
        """
        part = getattr(setup, self.part)
        field = self.field or name
        try:
            parsed = self.parse(value, setup.settings)
            if isinstance(part, Stage):
                if parsed < 0:
                    raise ValueError("it is 0 or more")  # noqa: TRY301 - reported like pydantic's
                one = replace(part, **{field: parsed})
                changed: Any = stage_of(one.window, one.expand, one.alpha)
            else:
                changed = type(part).model_validate(part.model_dump() | {field: parsed})
        except ValueError as error:  # pydantic's is one too
            raise RequestError(
                f"--ablate {name}={value} cannot work ({_first_message(error)}): choose another "
                "value, written as the others are; see docs/evaluation.md."
            ) from error
        return replace(setup, **{self.part: changed})

    def read(self, name: str, setup: Setup) -> str:
        """The value of a setup, as written."""
        field = name if name == "dims" else self.field or name
        return _written(getattr(getattr(setup, self.part), field))


def _first_message(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"] if errors else error)


def _written(value: Any) -> str:
    """A value as written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return "+".join(_written(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value.name}:{value.dims}" if hasattr(value, "dims") else str(value)


def _switch(text: str, _settings: MethodSettings) -> bool:
    if text not in ("on", "off"):
        raise ValueError("it is on or off")
    return text == "on"


def _numbers(text: str, _settings: MethodSettings) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("+"))


def _dims(text: str, settings: MethodSettings) -> list[dict[str, Any]]:
    """This many dimensions in total, divided among the layers as now."""
    share = int(text) / settings.dims
    return [
        {"name": layer.name, "dims": max(1, round(share * layer.dims))} for layer in settings.layers
    ]


def _layers(text: str, settings: MethodSettings) -> list[dict[str, Any]]:
    """``mid:256+last:256``; without numbers the dimensions are divided evenly."""
    parts = [part.partition(":") for part in text.split("+")]
    share = settings.dims // len(parts)
    return [{"name": name, "dims": int(dims) if dims else share} for name, _, dims in parts]


_ON_OFF = ("off", "on")
_THRESHOLDS = ("0.01", "0.01+0.2", "0.01+0.1+0.2+0.3+0.4", "0.1+0.3+0.5", "0.2+0.4+0.6")
KNOBS: Mapping[str, Knob] = MappingProxyType(
    {
        "n_classes": Knob("settings", ("1", "2", "4", "8", "16", "32", "64")),
        "n_pca": Knob("settings", ("2", "4", "8", "16")),
        "dims": Knob("settings", ("64", "128", "256", "512", "1024"), _dims, field="layers"),
        "power": Knob("settings", ("0.3", "0.5", "0.7", "1"), lambda text, _: float(text)),
        "weight_floor": Knob(
            "settings", ("0", "0.05", "0.1", "0.2", "0.5"), lambda text, _: float(text)
        ),
        "centring_prior": Knob("settings", _ON_OFF, _switch),
        "probability_weights": Knob("settings", _ON_OFF, _switch),
        "qe": Knob("stage", ("0", "3", "5", "10", "20"), field="expand"),
        "alpha": Knob("stage", ("0", "1", "3"), lambda text, _: float(text)),
        "window": Knob("stage", ("0", "25", "50", "100", "200"), reranked=True),
        "region_classes": Knob("regions", ("2", "4", "8", "12"), field="n_classes", reranked=True),
        "heat_map_classes": Knob("regions", ("1", "2", "4"), reranked=True),
        "thresholds": Knob("regions", _THRESHOLDS, _numbers, reranked=True),
        "min_side": Knob("regions", ("48", "80", "128"), reranked=True),
        "whole_image": Knob("regions", _ON_OFF, _switch, reranked=True),
        "expand_with_regions": Knob("regions", _ON_OFF, _switch, reranked=True),
        "remember_regions": Knob("regions", _ON_OFF, _switch, reranked=True),
        "side": Knob("settings", ("320", "416", "512", "640"), encodes=True),
        "layers": Knob("settings", ("mid", "last", "mid+last"), _layers, encodes=True),
    }
)


def chosen_knobs(text: str) -> dict[str, tuple[str, ...]]:
    """The values to try of each setting that ``n_classes,dims=128,256,power`` names.

    Convention:
        Values follow their setting's name and ``=``; within one value ``+`` separates numbers.
        ``all`` is every setting that encodes nothing.

    Raises:
        RequestError: for an unknown setting.
    """
    if text.strip() == "all":
        return {name: knob.values for name, knob in KNOBS.items() if not knob.encodes}
    wanted: dict[str, list[str]] = {}
    name = ""
    for part in (part.strip() for part in text.split(",")):
        head, equals, value = part.partition("=")
        if not equals and head not in KNOBS and wanted.get(name):
            wanted[name].append(part)
            continue
        name = head.strip()
        wanted[name] = [value.strip()] if equals else []
        if name not in KNOBS:
            raise RequestError(
                f"--ablate knows no setting {name!r}: choose among {', '.join(KNOBS)}."
            )
    return {name: tuple(values) or KNOBS[name].values for name, values in wanted.items()}
