"""Logs as JSON lines, including those of libraries."""

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
    """Write everything that this process logs as JSON lines.

    Args:
        stream: standard error if None.
        level: minimum level.

    Convention:
        Tracebacks do not include the values of variables, which may be secrets of a caller.
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
    # Drop uvicorn's messages on start and shutdown.
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.WARNING))


def _written(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
