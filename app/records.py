"""What a log record says, even one whose arguments do not fit its message."""

from __future__ import annotations

import logging


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
