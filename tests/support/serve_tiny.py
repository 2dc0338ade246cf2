"""A process of its own that serves a folder of `tiny_service`, until it is told to end.

python -m tests.support.serve_tiny FOLDER SECONDS   prints its port; each question takes SECONDS.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reranker.app import make_app
from reranker.operations.logs import configure_logs
from reranker.passing.serving import ServingSettings, end_in_order, listen, server_of
from tests.support.tiny_service import tiny_service

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _told() -> Iterator[None]:
    """Says at the end that all before it is closed."""
    try:
        yield
    finally:
        print("closed", flush=True)  # noqa: T201


def main(folder: Path, slow_s: float) -> None:
    """Serve."""
    configure_logs()
    end_in_order()
    with _told(), tiny_service(folder) as service, listen("127.0.0.1", 0) as listening:
        service.parts.upstream.slow_s = slow_s
        print(listening.getsockname()[1], flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):  # as the command does
            server_of(make_app(service), ServingSettings()).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
