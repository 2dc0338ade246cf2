"""Servers from official images, where a Docker engine answers."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from dataclasses import dataclass, field
from functools import lru_cache

from tests.services.recipe import Recipe

_ASK_S = 15.0
_PULL_S = 900.0


@dataclass(frozen=True)
class Image:
    """What of an image we use."""

    name: str
    port: int
    data: str  # folder inside that outlives the container
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()


def _docker(*words: str, seconds: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@lru_cache
def engine_answers() -> bool:
    """Whether there is more than the client: that alone starts nothing."""
    return shutil.which("docker") is not None and _docker("info", seconds=_ASK_S)


@lru_cache
def can_run(image: str) -> bool:
    """Whether the engine answers and has the image, or gets it now."""
    return engine_answers() and (
        _docker("image", "inspect", image, seconds=_ASK_S)
        or _docker("pull", "--quiet", image, seconds=_PULL_S)
    )


def container(image: Image, port: int) -> Recipe:
    """A container on that port of the loopback, whose data stay while it is killed and restarted.

    In the foreground and with `--rm`, so that the client's process ends with the container;
    the data are on a volume of the container's name.
    """
    name = f"camsearch-test-{uuid.uuid4().hex[:12]}"
    options = [
        f"--name={name}",
        f"--publish=127.0.0.1:{port}:{image.port}",
        f"--volume={name}:{image.data}",
        *(f"--env={key}={value}" for key, value in image.environment.items()),
    ]
    return Recipe(
        start=("docker", "run", "--rm", *options, image.name, *image.command),
        kill=("docker", "kill", name),
        forget=("docker", "volume", "rm", "--force", name),
    )
