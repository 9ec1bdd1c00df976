"""Logs: where the command line and the server write what happens. A library user keeps their own logging.

Every event goes through the standard library's `logging` to stderr: as a readable line on a terminal, as one JSON
object per line elsewhere. What people and models write is replaced by its length unless `log_contents` is set.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

CONTENT_KEYS = frozenset(
    {"answer", "content", "contents", "draft", "message", "messages", "prompt", "quote", "reply", "text", "words"}
)
"""Keys under which code logs what was written, and no others."""


def configure(settings: Settings) -> None:
    """Send logs to stderr in the form and from the level that `settings` name. Safe to call again."""
    import structlog

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if not settings.log_contents:
        shared.append(hide_contents)

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings)],
        )
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Stderr)]
    root.addHandler(handler)
    # Other libraries log request bodies below this level.
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("mentalize").setLevel(level)


def hide_contents(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace what was written by its size."""
    return {key: _size(value) if key in CONTENT_KEYS else value for key, value in event.items()}


def _size(value: Any) -> str:
    if isinstance(value, str):
        return f"<{len(value)} characters>"
    return f"<{len(value)} items>" if isinstance(value, Sized) else "<hidden>"


def _rendering(settings: Settings) -> list[Processor]:
    import structlog

    terminal = sys.stderr.isatty()
    if settings.log_format == "console" or (settings.log_format == "auto" and terminal):
        return [structlog.dev.ConsoleRenderer(colors=terminal)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is at the time, so that a live line on the terminal is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)
