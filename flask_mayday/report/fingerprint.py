"""What equal errors have in common, so that they are one mail and different ones are not."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from typing import Final

from . import traceback_text as trace

TELLING: Final = 1000  # characters at a message's beginning by which equal errors are known

# Parts of a message that differ from one occurrence of the same error to the next.
VARYING: Final = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "<quoted>"),
    (re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.\w+"), "<address>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "<hex>"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{6,}\b", re.I), "<hex>"),
    # IPv6: what is left of it has colons between groups of hex digits.
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.I), "<n>"),
    (re.compile(r"\d+"), "<n>"),
)


def fingerprint(record: logging.LogRecord, error: BaseException | None, message: str) -> str:
    """Return what equal errors have in common, as 16 hex digits, on every host and release.

    The types, the app's own frames (file and function: line numbers move with every release)
    and the message with its varying parts masked. An exception may add a text of its own, its
    ``report_fingerprint``.
    """
    parts = [masked(message[:TELLING])]
    if error is None:
        parts += [record.name, record.levelname, f"{record.module}.{record.funcName}"]
    else:
        parts += _types(error)
        parts += _app_frames(error)
        parts.append(_own_text(error))
    joined = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(joined).hexdigest()[:16]


def masked(message: str) -> str:
    """Return a message without what varies from one occurrence to the next."""
    for pattern, replacement in VARYING:
        message = pattern.sub(replacement, message)
    return message


def _types(error: BaseException) -> Iterator[str]:
    yield from (type(error).__module__, type(error).__qualname__)
    if isinstance(error, BaseExceptionGroup):
        members = {type(member).__qualname__ for member in error.exceptions[: trace.EXCEPTIONS]}
        yield from sorted(members)
    if error.__cause__ is not None:
        yield f"from {type(error.__cause__).__qualname__}"


def _app_frames(error: BaseException) -> Iterator[str]:
    # Each once: how often a recursion went round depends on where it began.
    frames, _ = trace.frames_of(error.__traceback__)
    yield from dict.fromkeys(
        f"{frame.path[len(trace.APP_FOLDER) :]}:{frame.function}" for frame in frames if frame.own
    )


def _own_text(error: BaseException) -> str:
    try:
        return trace.exact(getattr(error, "report_fingerprint", ""))[:TELLING]
    except Exception:
        return ""
