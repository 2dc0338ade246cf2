"""Write docs/settings.md from the settings (`make docs`); a test compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from camsearch.settings import CommandSettings
from descriptors.settings import MethodSettings, RegionSettings

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["settings_page"]

PAGE = Path(__file__).with_name("settings.md")

_HEAD = """# Settings

Written by `make docs`; do not edit.

## Environment

Defaults of the command line, whose options override them. An unknown `CAMSEARCH_` variable is an error.
"""

_METHOD = """
## Method

`MethodSettings`: every number that changes an indexed vector; part of the fingerprint.
`MethodSettings.preset("paper")` is the published method; the columns show both presets.
"""

_REGIONS = """
## Regions

`RegionSettings`: CAM-region re-ranking, at query time; not part of the fingerprint.
"""


def settings_page() -> str:
    """The text of docs/settings.md."""
    environment = "\n".join(
        f"| `CAMSEARCH_{name.upper()}` | `{field.default}` | {field.description} |"
        for name, field in CommandSettings.model_fields.items()
    )
    return "\n".join(
        [
            _HEAD,
            "| variable | default | what |\n|---|---|---|",
            environment,
            _METHOD,
            _presets(MethodSettings),
            _REGIONS,
            _presets(RegionSettings),
            "",
        ]
    )


def _presets(settings: type[MethodSettings | RegionSettings]) -> str:
    default, paper = settings.preset("default"), settings.preset("paper")
    fields: type[BaseModel] = settings
    rows = [
        f"| `{name}` | {_shown(getattr(default, name))} | {_shown(getattr(paper, name))} "
        f"| {field.description} |"
        for name, field in fields.model_fields.items()
    ]
    return "\n".join(["| field | default | paper | what |\n|---|---|---|---|", *rows])


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value) or "none"
    name, dims = getattr(value, "name", None), getattr(value, "dims", None)
    return f"`{name}:{dims}`" if name else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(settings_page())
