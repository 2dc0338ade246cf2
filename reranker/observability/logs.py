"""Logs for machines: one JSON object a line, of us and of every library alike."""

from __future__ import annotations

import logging
import sys
from io import TextIOBase
from typing import TYPE_CHECKING, Any

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

__all__ = ["configure_logs"]


def configure_logs(stream: TextIOBase | None = None, level: int = logging.INFO) -> None:
    """Write all that is logged in this process as JSON lines.

    Args:
        stream: standard error if it is None.
        level: what is less is not written.

    Convention:
        Tracebacks stand in the line as text, without the values of variables: those may hold
        what a caller keeps secret.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_written),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # A line at start and end of each is uvicorn's way of saying hello.
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.WARNING))


def _written(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
