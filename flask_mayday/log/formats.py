"""The formats of a log record, text and JSON. No request can forge a line in either."""

from __future__ import annotations

import itertools
import json
import logging
import re
import socket
import time
from datetime import UTC, datetime
from typing import Final

from ..context.record_fields import (
    PREFIX,
    bare_record,
    environ_of,
    extra_of,
    message_of,
    request_id_of,
    traceback_of,
)
from ..context.trace_context import trace_of
from ..redaction.redactor import Redactor

# Characters of one message and of one traceback. JSON writes up to 12 bytes for a character, so
# a record stays below rotation.RECORD_BYTES.
MAX_TEXT_LENGTH: Final = 32_768
# On a record: the number of the formatter that has formatted it, and the line. The formatter itself
# cannot be pickled, and the app's own handlers may pickle the record.
LINE: Final = f"{PREFIX}line"

# Control characters, line and paragraph separators, and marks that change the direction of text:
# all that could start a line or change what a terminal shows. A tab is harmless.
CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")
LONE_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def escape_controls(text: str) -> str:
    """Return ``text`` as one line: control characters and lone surrogates become escapes."""
    return LONE_SURROGATES.sub(_escape, CONTROLS.sub(_escape, text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _message(record: logging.LogRecord) -> str:
    """Return the message, without the terminal colours of Flask's development server."""
    message = message_of(record)
    return COLOURS.sub("", message) if record.name == "werkzeug" else message


_numbers = itertools.count()


class LineFormatter(logging.Formatter):
    """Formats each record once for all handlers that share the formatter, and never raises.

    ``redactor`` masks the secrets of messages, tracebacks and fields.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor
        self._number = next(_numbers)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``, or a bare line that says why it cannot be formatted."""
        number, line = getattr(record, LINE, (None, ""))
        if number != self._number:
            try:
                line = self.line(record)
            except Exception as error:
                line = self.line(bare_record(record, error))
            setattr(record, LINE, (self._number, line))
        return line

    def line(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``, formatted now."""
        raise NotImplementedError


class TextFormatter(LineFormatter):
    """One line per record, in UTC; a traceback follows in lines indented by two spaces."""

    converter = staticmethod(time.gmtime)

    def line(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``, and below it the lines of its traceback and stack."""
        redactor = self.redactor.bind(environ_of(record))
        message = redactor.bounded(_message(record), MAX_TEXT_LENGTH)
        first = (
            f"{self.formatTime(record)} {record.levelname}: {message}"
            f" [in {record.pathname}:{record.lineno}] [request {request_id_of(record) or '-'}]"
        )
        lines = [escape_controls(first)]
        if traceback := traceback_of(record):
            redacted = redactor.bounded(traceback, MAX_TEXT_LENGTH)
            lines += [f"  {escape_controls(line)}" for line in redacted.split("\n")]
        return "\n".join(lines)


class JsonFormatter(LineFormatter):
    """One JSON object per line: nine fixed fields, traceback, trace, and every ``extra`` field.

    An ``extra`` field with the name of a fixed one is written as ``extra_<name>``. A value that
    JSON has no type for is written as text.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(redactor)
        self.host = socket.gethostname()

    def line(self, record: logging.LogRecord) -> str:
        """Return ``record`` as one line of JSON."""
        environ = environ_of(record)
        traceback, redactor = traceback_of(record), self.redactor.bind(environ)
        created = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, object] = {
            "time": created.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redactor.bounded(_message(record), MAX_TEXT_LENGTH),
            "path": record.pathname,
            "line": record.lineno,
            "request_id": request_id_of(record),
            "process": record.process,
            "host": self.host,
            "exception": redactor.bounded(traceback, MAX_TEXT_LENGTH) if traceback else None,
        }
        if trace := trace_of(environ):
            entry |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        if extra := extra_of(record):
            for name, value in redactor.fields(extra).items():
                entry[f"extra_{name}" if name in entry else name] = value
        return json.dumps(entry)
