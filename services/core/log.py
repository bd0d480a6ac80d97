"""JSON lines on stderr, bound to run and scene; progress bars are the terminal's business, not the log's."""

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog

from services.core.json_line import json_line


def configure_logging(level: str) -> None:
    """Send every line of `level` and above to stderr as one JSON object; called once, by an entry point."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(json_line, sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_stderr_logger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:
    """A logger: one sentence, then fields, `log.info("scene registered", scene_id=...)`."""
    return structlog.get_logger(module=name)


def bind(**fields: str) -> None:
    """Add fields to every further line of this thread, e.g. `run_id`."""
    structlog.contextvars.bind_contextvars(**fields)


def _stderr_logger(*_: Any) -> structlog.WriteLogger:
    """Writes to what stderr is now: whoever put another in its place, and closed it, must not break a later line."""
    return structlog.WriteLogger(_Listener())  # type: ignore[arg-type]  # as much of a file as it uses


class _Listener:
    """Stderr, whose reader may have gone or whose disk may be full: no reason to lose the work that is told of."""

    def write(self, line: str) -> None:
        with suppress(OSError):
            sys.stderr.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
