"""What a log record holds: its message, traceback, extra fields, and the request it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from . import request_id
from .error_text import is_slow, message_of_error, traceback_if_slow
from .exception_text import exception_text

# Attributes of a record that this package sets through ``extra``. The prefix keeps them apart from
# the names that apps and libraries use.
PREFIX: Final = "mayday_"
ENVIRON: Final = f"{PREFIX}environ"  # the WSGI environment of the request
STACK: Final = f"{PREFIX}stack"  # text: the stack of a hung request or of a crashed worker
UNREPORTED: Final = f"{PREFIX}unreported"  # true: only log the record; another one is reported
CONTEXT: Final = f"{PREFIX}context"  # mapping: the keyword arguments of mayday.capture()
GROUP: Final = f"{PREFIX}group"  # text: records with the same text belong to one error group

# The requests that a worker was serving when it died, or that nginx has answered: a sequence of
# mappings with ``request_id``, ``method``, ``path`` and ``state``, which is one of those below.
REQUESTS: Final = f"{PREFIX}requests"
INTERRUPTED: Final = "interrupted"  # the visitor has received no response
RESPONDING: Final = "responding"  # the response was being sent
REPORTED: Final = "reported"  # it has a report of its own
ANSWERED_BY_NGINX: Final = "answered for the app"  # nginx has sent its own error page

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def environ_of(record: logging.LogRecord) -> Mapping[str, object] | None:
    """Return the WSGI environment of the request that a record belongs to, or ``None``."""
    return getattr(record, ENVIRON, None) or request_id.current_environ()


def request_id_of(record: logging.LogRecord) -> str | None:
    """Return the id of the request that a record belongs to, or ``None``."""
    environ = environ_of(record)
    return None if environ is None else str(environ[request_id.ENVIRON_KEY])


def error_of(record: logging.LogRecord) -> BaseException | None:
    """Return the exception of a record, or ``None``; a record made by hand may hold anything."""
    raised = record.exc_info
    error = raised[1] if isinstance(raised, tuple) and len(raised) == 3 else None
    return error if isinstance(error, BaseException) else None


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what the caller passed as ``extra`` or to ``mayday.capture()``."""
    fields = {
        str(name): value
        for name, value in vars(record).items()
        if name not in STANDARD and not str(name).startswith(PREFIX)
    }
    context = getattr(record, CONTEXT, None)
    return fields | context if isinstance(context, dict) else fields


def traceback_of(record: logging.LogRecord) -> str:
    """Return the traceback and the stacks of a record, or an empty string.

    It is not cached on the record as :class:`logging.Formatter` does: another handler would
    write the cached text, redacted or not.
    """
    requests = getattr(record, REQUESTS, None)
    blocks = [
        record.exc_text,
        record.stack_info,
        requests_as_text(requests) if requests else "",
        getattr(record, STACK, None),
    ]
    raised = record.exc_info
    if isinstance(raised, tuple) and len(raised) == 3 and raised[0] is not None:
        blocks[0] = _text_of_exception(raised)
    return "\n".join(text_of(block) for block in blocks if block)


def _text_of_exception(raised: tuple[Any, Any, Any]) -> str:
    error, trace = raised[1], raised[2]
    if isinstance(error, BaseException) and (text := traceback_if_slow(error)):
        return text
    if isinstance(error, BaseException) and error.__traceback__ is trace:
        with suppress(Exception):  # the exception's own code may raise
            return exception_text(error)
    return logging.Formatter().formatException(raised)


def requests_as_text(requests: Iterable[Mapping[str, object]]) -> str:
    """Return the requests of a record as text, one line each."""
    requests = list(requests)
    lines = [f"{title_of_requests(requests)}:"]
    for request in requests:
        line = f"  {request.get('method', '')} {request.get('path', '')}"
        identifier = request.get("request_id", "-")
        if request.get("state") == REPORTED:
            lines.append(f"{line} (reported before, as request {identifier})")
        else:
            lines.append(f"{line} [request {identifier}]")
    return "\n".join(lines) if len(lines) > 1 else ""


def title_of_requests(requests: Iterable[Mapping[str, object]]) -> str:
    """Return the heading of a list of requests in a log or mail."""
    by_nginx = all(request.get("state") == ANSWERED_BY_NGINX for request in requests)
    return "Requests answered by nginx" if by_nginx else "Requests in progress"


def message_of(record: logging.LogRecord) -> str:
    """Return the message of a record; if it cannot be formatted, its parts and the error.

    The standard handlers drop such a record, although it may be the only trace of an error.
    """
    try:
        arguments = record.args if isinstance(record.args, tuple) else ()
        if any(is_slow(one) for one in arguments if isinstance(one, BaseException)):
            values = tuple(
                message_of_error(one) if isinstance(one, BaseException) else one
                for one in arguments
            )
            return text_of(record.msg) % values
        return record.getMessage()
    except Exception as error:
        parts = f"{text_of(record.msg)} % {text_of(record.args)}"
        return f"{parts} (cannot be formatted: {type(error).__name__})"


def bare_record(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """Return a substitute for a record that could not be formatted because of ``error``.

    It keeps the level, place and message of ``record``, and none of its other fields.
    """
    return logging.LogRecord(
        text_of(record.name),
        record.levelno,
        text_of(record.pathname),
        record.lineno,
        "Log record could not be formatted (%s: %s): %s",
        (type(error).__name__, text_of(error), message_of(record)),
        None,
    )


def text_of(value: object) -> str:
    """Return ``str(value)``; if that raises, the name of the value's type."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"
