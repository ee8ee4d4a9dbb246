"""The log: one rotating file for all workers, the same lines on stdout."""

from __future__ import annotations

import logging
import re
import sys

from ..redaction.redactor import Redactor
from ..settings import Settings
from .formats import JsonFormatter, TextFormatter
from .rotation import RotatingFile

ANSI = re.compile("\x1b\\[[0-9;]*m")


def configure(settings: Settings, redactor: Redactor, *, debug: bool) -> None:
    """Send every logger's records to the log file and to stdout; in debug mode to stdout only.

    Nothing is opened here: the file is opened by the first record of each process.
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
        handler.set_name(f"microblog {type(handler).__name__}")
        root.addHandler(handler)


def _without_colour(record: logging.LogRecord) -> bool:
    """Take the colours out of a line of Flask's own server: in a log they would be escapes."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            ANSI.sub("", part) if isinstance(part, str) else part for part in record.args
        )
    return True


def remove() -> None:
    """Take our handlers off again, for an app that is made a second time in one process."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if (h.get_name() or "").startswith("microblog ")]:
        root.removeHandler(handler)
        handler.close()
