"""`camsearch worker`: index the images of the queue until stopped."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from camsearch.commands import options
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from indexer.ledger import Ledger
    from indexer.worker import GalleryWorker

__all__ = ["EXAMPLE", "worker"]

EXAMPLE = "Example: camsearch worker --device cuda:0"

_STUCK_SECONDS = 300


def worker(
    device: options.Device = None,
    precision: options.PrecisionOption = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check the workers: exit with 1 if tasks are waiting and no worker has "
            "finished an image for five minutes.",
        ),
    ] = False,
) -> None:
    """Index images sent by `camsearch enqueue` and other Celery apps. Run one per device.

    On Ctrl-C or SIGTERM it finishes its task, or returns it to the queue.
    """
    from camsearch import servers

    settings = read_settings()
    if check:
        with servers.broker_answers(settings):
            raise typer.Exit(_check(servers.ledger(settings, retries=1), settings.queue))
    machine = options.machine(device, precision)
    from indexer.app import make_celery_app
    from indexer.enqueueing import Resender
    from indexer.tasks import register

    app = make_celery_app(settings)
    works = servers.gallery_worker(settings, machine)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    # It logs every request; a line per task is enough.
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    _prepare(works, settings.images)
    register(app, settings, lambda: works)
    # A separate client, since the worker's blocks while Redis is unreachable.
    Resender(app, servers.ledger(settings), settings).start()
    name = f"camsearch-{device or settings.device}-{os.getpid()}@%h".replace(":", "")
    started = ["worker", "--pool", "solo", "--concurrency", "1", "--queues", settings.queue]
    started += ["--without-gossip", "--without-mingle", "--loglevel", "INFO", "--hostname", name]
    app.worker_main(started)


def _prepare(works: GalleryWorker, gallery: str) -> None:
    """Load the network before the first task, so that errors appear at once."""
    from galleries.errors import GalleryNotFound, GalleryUnreachable

    log = logging.getLogger("camsearch")
    try:
        opened = works.gallery(gallery)
        works.method(opened)
        log.info("Ready for the gallery %s (%s).", gallery, opened.fingerprint[:16])
    except (GalleryNotFound, GalleryUnreachable) as error:
        # Servers may start in any order, and tasks may name another gallery.
        log.warning("%s Waiting for tasks anyway.", error.reason)


def _check(ledger: Ledger, queue: str) -> int:
    waiting = ledger.waiting(queue) + ledger.taken()
    getting_on = ledger.workers(since=time.time() - _STUCK_SECONDS)
    typer.echo(f"{waiting} tasks waiting, {len(getting_on)} workers active in the last 5 minutes.")
    return int(waiting > 0 and not getting_on)
