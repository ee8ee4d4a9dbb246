"""What a log record says: its message, its traceback, and the request that it is about."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from . import request_id

# What a record may carry, as ``extra``, that is written by another thread or process than the
# one that serves the request:
ENVIRON = "request_environ"  # the request's environment
STACK = "stack"  # a text: where it hangs, what it served
UNREPORTED = "unreported"  # true: for the log only, the report comes from elsewhere
# The requests that the record's worker was serving when it died: a sequence of mappings with
# ``request_id``, ``method``, ``path`` and ``state``, which is one of the three below.
REQUESTS = "mayday_requests"
INTERRUPTED = "interrupted"  # the visitor has got no answer
RESPONDING = "responding"  # the answer was being sent
REPORTED = "reported"  # a report of its own has been made before
CONTEXT = "mayday_context"  # a mapping: what mayday.capture() was given besides the exception
GROUP = "mayday_group"  # a text: errors with the same are one group, whatever else they are


def environ_of(record: logging.LogRecord) -> Mapping[str, object] | None:
    """Return the environment of the request that a record is about, if it is about one."""
    return getattr(record, ENVIRON, None) or request_id.current_environ()


def request_id_of(record: logging.LogRecord) -> str | None:
    """Return the id of that request."""
    environ = environ_of(record)
    return None if environ is None else str(environ[request_id.ENVIRON_KEY])


def traceback_of(record: logging.LogRecord) -> str:
    """Return the traceback of a record, whole, and its stacks, or an empty text.

    Not cached on the record as the standard formatter does: the cache would carry one
    handler's text, redacted or not, to the next.
    """
    requests = requests_as_text(getattr(record, REQUESTS, None) or ())
    blocks = [record.exc_text, record.stack_info, requests, getattr(record, STACK, None)]
    if record.exc_info and record.exc_info[0] is not None:
        blocks[0] = logging.Formatter().formatException(record.exc_info)
    return "\n".join(block for block in blocks if block)


def requests_as_text(requests: Iterable[Mapping[str, object]]) -> str:
    """Return the requests that a worker was serving as text, one line each."""
    lines = ["Requests in progress:"]
    for request in requests:
        line = f"  {request.get('method', '')} {request.get('path', '')}"
        identifier = request.get("request_id", "-")
        if request.get("state") == REPORTED:
            lines.append(f"{line} (reported before, as request {identifier})")
        else:
            lines.append(f"{line} [request {identifier}]")
    return "\n".join(lines) if len(lines) > 1 else ""


def message_of(record: logging.LogRecord) -> str:
    """Return the record's message; where it cannot be put together, its parts and why.

    The standard handlers drop such a record. Here it may be the only trace of an error.
    """
    try:
        return record.getMessage()
    except Exception as error:
        parts = f"{_text(record.msg)} % {_text(record.args)}"
        return f"{parts} (cannot be put together: {type(error).__name__})"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} without a text>"
