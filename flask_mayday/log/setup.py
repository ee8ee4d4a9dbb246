"""Sends all records to one rotating file of all workers, and to stdout."""

from __future__ import annotations

import logging
import re
import sys

from ..context.record_fields import PREFIX
from ..redaction.redactor import Redactor
from ..settings import Settings
from .formats import JsonFormatter, TextFormatter
from .rotation import RotatingFile

ANSI = re.compile("\x1b\\[[0-9;]*m")


def configure(settings: Settings, redactor: Redactor, *, debug: bool) -> None:
    """Send the records of every logger to the log file and to stdout; with ``debug``, to stdout.

    Opens nothing: the first record of each process opens the file.
    """
    root = logging.getLogger()
    remove()
    root.setLevel(settings.log.level)
    logging.getLogger("werkzeug").addFilter(_without_colour)
    formatter = (JsonFormatter if settings.log.format == "json" else TextFormatter)(redactor)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if not debug:
        handlers.append(
            RotatingFile(
                settings.log.path,
                max_bytes=settings.log.max_bytes,
                backup_count=settings.log.backup_count,
            )
        )
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.set_name(f"{PREFIX}{type(handler).__name__}")
        root.addHandler(handler)


def _without_colour(record: logging.LogRecord) -> bool:
    """Remove the colours from a line of Werkzeug's server, which a log would show as escapes."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            ANSI.sub("", part) if isinstance(part, str) else part for part in record.args
        )
    return True


def remove() -> None:
    """Remove the handlers again, for a process that creates several apps."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if (h.get_name() or "").startswith(PREFIX)]:
        root.removeHandler(handler)
        handler.close()
