"""Structured logs: one event a line, with the request id or async action id it belongs to.

What is logged is ours: names of events, ids, counts, durations. Never request bodies, personal data,
tokens or DSNs.
"""

import logging
import sys
from typing import Any

import structlog

from punchcard.settings import Settings


def configure(settings: Settings, *, part: str) -> None:
    """Set up logging for this process; `part` names it in every line (api, worker, serve)."""
    use_json = settings.log_format == "json" or (not settings.log_format and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer() if use_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    exceptions: list[Any] = [structlog.processors.format_exc_info] if use_json else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(part=part)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s", force=True)


def get(name: str) -> Any:
    """A logger whose lines carry `module=name`."""
    return structlog.get_logger(module=name)
