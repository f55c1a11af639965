"""Structured logs: one event a line, with the request id or async action id it belongs to.

What is logged is ours: names of events, ids, counts, durations. Never request bodies, personal data,
tokens or DSNs.
"""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog

from punchcard.settings import Settings


class _Lossy:
    """Standard error as it is; a line that it does not take is lost.

    A terminal that was closed or a pipe whose reader ended must not turn the work that is logged into a failure.
    """

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


class _FromLibraries(logging.Handler):
    """What libraries log through `logging` becomes a line like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get(record.name)
        logger.log(record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info)


def configure(settings: Settings, *, part: str) -> None:
    """Set up logging for this process; `part` names it in every line (api, worker, serve)."""
    use_json = settings.log_format == "json" or (not settings.log_format and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: Any = structlog.processors.JSONRenderer()
    if not use_json:
        # its own choice of trace, where rich is installed, shows the values of local variables
        trace = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=trace)
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
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(part=part)
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()], force=True)
    logging.captureWarnings(capture=True)


def get(name: str) -> Any:
    """A logger whose lines carry `module=name`."""
    return structlog.get_logger(module=name)
