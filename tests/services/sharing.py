"""One server for all workers of a pytest run: the first that needs it starts it.

Each worker holds a lease on it; the server's keeper ends it when the last lease is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.services.errors import ServiceMissing
from tests.services.locks import Lease, alone, is_held_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.services.server import Server


@dataclass(frozen=True)
class Shared:
    """A server's address, good until `close`."""

    url: str
    ours: bool
    lease: Lease

    def close(self) -> None:
        self.lease.close()


def share(folder: Path, make: Callable[[Path], Server]) -> Shared:
    """The run's server in this folder, made and started where no worker has done so yet.

    Raises:
        ServiceMissing: it cannot be had, as this or another worker found out.
        ServiceBroken: it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The lease comes first: from here on the server cannot end between finding and using it.
    lease = Lease(folder / "lease")
    try:
        with alone(folder / "start.lock"):
            url, ours = _found(folder) or _started(folder, make)
    except BaseException:
        lease.close()
        raise
    return Shared(url, ours, lease)


def _found(folder: Path) -> tuple[str, bool] | None:
    """What another worker wrote, unless its server has ended since."""
    state = folder / "state.json"
    said = json.loads(state.read_text()) if state.exists() else {}
    if "missing" in said:
        raise ServiceMissing(said["missing"])
    if said and (not said["ours"] or is_held_alone(folder / "alive")):
        return said["url"], said["ours"]
    return None


def _started(folder: Path, make: Callable[[Path], Server]) -> tuple[str, bool]:
    state = folder / "state.json"
    try:
        server = make(folder)
    except ServiceMissing as missing:
        # So that the other workers do not wait for Maven or Docker to fail once more.
        state.write_text(json.dumps({"missing": str(missing)}))
        raise
    ours = server.process is not None
    if server.process is not None:
        try:
            server.start()
        finally:
            server.process.let_go()
    state.write_text(json.dumps({"url": server.url, "ours": ours}))
    return server.url, ours
