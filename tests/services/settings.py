"""What the environment says about the servers of the tests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ELASTICSEARCH = "CAMSEARCH_TEST_ELASTICSEARCH"
ELASTICSEARCH_VERSION = "CAMSEARCH_TEST_ELASTICSEARCH_VERSION"
REDIS = "CAMSEARCH_TEST_REDIS"


def _cache() -> Path:
    return Path.home() / ".cache" / "camsearch" / "services"


@dataclass(frozen=True)
class ServiceSettings:
    """Read once a process: tests clear the environment of our variables.

    Attributes:
        java_options: of Elasticsearch. A node of the tests lives for minutes: it starts in half
            the time if its code is compiled once. Its vector search is then several times slower.
    """

    elasticsearch: str | None = None
    elasticsearch_version: str = "9.5.3"
    redis: str | None = None
    java_home: Path | None = None
    ci: bool = False
    java_options: str = "-Xms512m -Xmx512m -XX:TieredStopAtLevel=1"
    cache: Path = field(default_factory=_cache)

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Empty variables count as not set, which is how CI systems say so."""
        java_home = os.environ.get("JAVA_HOME")
        return cls(
            elasticsearch=_address(ELASTICSEARCH),
            elasticsearch_version=os.environ.get(ELASTICSEARCH_VERSION)
            or cls.elasticsearch_version,
            redis=_address(REDIS),
            java_home=Path(java_home) if java_home else None,
            ci=os.environ.get("CI", "").lower() not in {"", "0", "false", "no"},
        )


def _address(name: str) -> str | None:
    return (os.environ.get(name) or "").rstrip("/") or None
