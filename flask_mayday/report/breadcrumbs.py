"""Breadcrumbs: the last lines that each request has logged, for the report of its failure."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ..context.record_fields import environ_of, message_of
from ..redaction.redactor import AROUND, BoundRedactor

KEY: Final = "flask_mayday.earlier"  # in the WSGI environment
KEPT: Final = 30  # lines a request
LENGTH: Final = 500  # characters of a line
END: Final = LENGTH + AROUND  # characters kept of a line's beginning and of its end

Crumb = tuple[float, str, str, str, int]


class Breadcrumbs(logging.Handler):
    """Leaves each record of level INFO and above with the request that wrote it.

    As it was said, not redacted yet: that is done for the few that end up in a report. Comes
    after the handler that reports, so that an error is not among the lines before it.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit without the handler's lock: a request's lines are its own thread's."""
        environ = environ_of(record)
        if isinstance(environ, dict):
            kept = environ.get(KEY)
            if not isinstance(kept, deque):
                kept = environ[KEY] = deque(maxlen=KEPT)
            raised = f" ({record.exc_info[0].__name__})" if _raised(record) else ""  # type: ignore[index,union-attr]
            message = message_of(record) + raised
            missing = max(0, len(message) - 2 * END)
            if missing:
                message = message[:END] + message[-END:]
            kept.append((record.created, record.levelname, record.name, message, missing))
        return True


def earlier_lines(environ: Mapping[str, object], redactor: BoundRedactor) -> list[str]:
    """Return the lines that a request has left, oldest first: time, level, message, logger."""
    found = environ.get(KEY)
    crumbs: list[Crumb] = list(found) if isinstance(found, deque) else []
    return [_line(crumb, redactor) for crumb in crumbs]


def _line(crumb: Crumb, redactor: BoundRedactor) -> str:
    created, level, logger, message, missing = crumb
    time = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")[11:23]
    said = redactor.bounded(message, LENGTH, missing).replace("\n", "\n  ")
    return f"{time} {level}: {said} [{logger}]"


def _raised(record: logging.LogRecord) -> bool:
    return bool(record.exc_info and record.exc_info[0])
