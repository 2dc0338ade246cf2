"""A free port that stays free while its server is down between a kill and a restart."""

from __future__ import annotations

import random
import socket

# Below the range from which kernels lend ports to outgoing connections (32768 on Linux, 49152
# elsewhere): one of those could take a server's port between its kill and its restart.
_LOWEST, _HIGHEST = 20_000, 32_000


def free_port() -> int:
    """Drawn by chance, so that two processes that look at once hardly get the same."""
    chance = random.SystemRandom()
    while True:
        port = chance.randint(_LOWEST, _HIGHEST)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
