"""What a line of the log looks like: text or JSON, and never one that a request has forged."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from datetime import UTC, datetime
from typing import Final

from ..context.record_fields import environ_of, message_of, request_id_of, traceback_of
from ..redaction.redactor import Redactor

TEXT: Final = (
    "%(asctime)s %(levelname)s: %(message)s [in %(pathname)s:%(lineno)d] [request %(request_id)s]"
)

# C0 and C1 controls, DEL, the line and paragraph separators, and the marks that turn the
# direction of text: whatever could start a line or repaint one in a terminal. Tab is harmless.
CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LONE_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def escape_controls(text: str) -> str:
    """Return ``text`` as one harmless line: control characters and lone surrogates as escapes."""
    return LONE_SURROGATES.sub(_escape, CONTROLS.sub(_escape, text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class Once(logging.Formatter):
    """Makes a record's line once, although several handlers write it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, made now or for another handler."""
        maker, line = getattr(record, "microblog_line", (None, ""))
        if maker is not self:
            line = self.line(record)
            record.microblog_line = (self, line)
        return line

    def line(self, record: logging.LogRecord) -> str:
        """Make the record's line."""
        raise NotImplementedError


class TextFormatter(Once):
    """One line a record, UTC; a traceback follows as lines indented by two spaces."""

    converter = staticmethod(time.gmtime)

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(TEXT)
        self.redactor = redactor

    def line(self, record: logging.LogRecord) -> str:
        """Return the record's line and, under it, its traceback and its stack."""
        record.request_id = request_id_of(record) or "-"
        redactor = self.redactor.bind(environ_of(record))
        record.message = escape_controls(redactor.text(message_of(record)))
        record.asctime = self.formatTime(record)
        lines = [self.formatMessage(record)]
        if trace := traceback_of(record):
            redacted = redactor.text(trace)
            lines += [f"  {escape_controls(line)}" for line in redacted.split("\n")]
        return "\n".join(lines)


class JsonFormatter(Once):
    """One JSON object a line, with the time as RFC 3339 writes it."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor
        self.host = socket.gethostname()

    def line(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        trace, redactor = traceback_of(record), self.redactor.bind(environ_of(record))
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redactor.text(message_of(record)),
            "path": record.pathname,
            "line": record.lineno,
            "request_id": request_id_of(record),
            "process": record.process,
            "host": self.host,
            "exception": redactor.text(trace) if trace else None,
        }
        return json.dumps(entry, ensure_ascii=True)
