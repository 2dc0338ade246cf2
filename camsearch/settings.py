"""Settings from the environment, with the prefix ``CAMSEARCH_``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from descriptors.errors import SettingsError
from indexer.settings import IndexerSettings
from reranker.settings import RerankerSettings

__all__ = ["CommandSettings", "read_settings"]

_PREFIX = "CAMSEARCH_"
_OF_TESTS = "CAMSEARCH_TEST_"  # addresses of the tests' servers


class CommandSettings(BaseSettings, IndexerSettings, RerankerSettings):
    """Defaults of the command line, whose options override them."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    gallery: Path = Field(Path("camsearch-gallery"), description="folder of the gallery")
    device: str = Field("cpu", description="device of the network: cpu, or cuda:0")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 if the processor supports it natively"
    )
    batch_size: int = Field(8, ge=1, le=1024, description="images per forward pass")
    readers: int = Field(4, ge=1, le=256, description="threads that read and decode")
    max_pixels: int = Field(89_478_485, ge=1, description="larger images are refused unread")
    max_bytes: int = Field(100 * 2**20, ge=1, description="larger files are refused unread")
    cache: Path = Field(
        Path("~/.cache/camsearch"), description="folder for what `evaluate` keeps between runs"
    )


def read_settings() -> CommandSettings:
    """Read the environment.

    Raises:
        SettingsError: for an invalid value, or an unknown variable ``CAMSEARCH_…``.
    """
    known = {_PREFIX + name.upper() for name in CommandSettings.model_fields}
    given = {n for n in os.environ if n.upper().startswith(_PREFIX)}
    unknown = {n for n in given - known if not n.upper().startswith(_OF_TESTS)}
    for name in sorted(unknown):
        now = name.upper().replace("MOST_", "MAX_").replace("PICTURE", "IMAGE")
        if now in known:
            raise SettingsError(f"{name} is now called {now}: rename it.")
    if unknown:
        raise SettingsError(
            f"There is no setting {', '.join(sorted(unknown))}: "
            f"the settings are {', '.join(sorted(known))}."
        )
    try:
        return CommandSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = _PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name} is not valid: {first['msg']}.") from error
