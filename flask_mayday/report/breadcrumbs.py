"""Breadcrumbs: the last lines that each request has logged, for the report of its failure."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ..context.record_fields import environ_of, error_of, message_of
from ..redaction.redactor import CUT_CONTEXT, BoundRedactor

BREADCRUMBS: Final = "flask_mayday.breadcrumbs"  # key in the WSGI environment
MAX_LINES: Final = 30  # of a request
LINE_LENGTH: Final = 500  # characters
# Characters that are kept of a line's beginning, and of its end.
END_LENGTH: Final = LINE_LENGTH + CUT_CONTEXT

Breadcrumb = tuple[float, str, str, str, int]


class Breadcrumbs(logging.Handler):
    """Keeps each record of level INFO and above with the request that wrote it.

    The text is kept as it is: only the few lines that end up in a report are redacted. This
    handler belongs after the one that reports, so that an error is not among the lines before it.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the record, without the handler's lock: a request belongs to one thread."""
        environ = environ_of(record)
        if isinstance(environ, dict):
            kept = environ.get(BREADCRUMBS)
            if not isinstance(kept, deque):
                kept = environ[BREADCRUMBS] = deque(maxlen=MAX_LINES)
            message = message_of(record)
            if (error := error_of(record)) is not None:
                message += f" ({type(error).__name__})"
            missing = max(0, len(message) - 2 * END_LENGTH)
            if missing:
                message = message[:END_LENGTH] + message[-END_LENGTH:]
            kept.append((record.created, record.levelname, record.name, message, missing))
        return True


def earlier_lines(environ: Mapping[str, object], redactor: BoundRedactor) -> list[str]:
    """Return the lines that a request has logged, oldest first, redacted.

    Each line has the time in UTC, the level, the message and the logger's name.
    """
    kept = environ.get(BREADCRUMBS)
    crumbs: list[Breadcrumb] = list(kept) if isinstance(kept, deque) else []
    return [_line(crumb, redactor) for crumb in crumbs]


def _line(crumb: Breadcrumb, redactor: BoundRedactor) -> str:
    created, level, logger, message, missing = crumb
    time = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")[11:23]
    text = redactor.bounded(message, LINE_LENGTH, missing).replace("\n", "\n  ")
    return f"{time} {level}: {text} [{logger}]"
