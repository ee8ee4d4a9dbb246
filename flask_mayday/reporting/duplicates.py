"""Finds identical errors: at most one a second is recorded in full, and repeats refer to it.

Most of the cost of a report is the traceback with its source and the redaction of the request. An
identical error has the same traceback, and its short report costs a tenth.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from ..context.error_text import exact, is_slow
from ..context.record_fields import GROUP, STACK, error_of, message_of
from ..report.report import Report

INTERVAL: Final = 1.0  # seconds for which a full report stands for identical errors
MAX_REMEMBERED: Final = 256  # different errors, in each process
MAX_CHAIN: Final = 10  # exceptions connected by cause or context
MAX_FRAMES: Final = 200  # of all tracebacks
MAX_TEXT: Final = 2000  # characters of a message


class _NotComparableError(Exception):
    """The error cannot be compared with others, and is recorded in full each time."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What identical errors have in common: types, texts, and each frame's code and position.

    ``key`` holds the ``id()`` of types and code objects; ``kept_alive`` keeps the ids valid.
    """

    key: Hashable
    kept_alive: tuple[object, ...]


class DuplicateFilter:
    """Remembers which errors this process has just recorded in full."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, tuple[float, Report, Signature]] = {}

    def first(self, signature: Signature | None) -> Report | None:
        """Return the full report of an identical error of the last second, or ``None``."""
        known = None if signature is None else self._recorded.get(signature.key)
        if known is None or time.monotonic() - known[0] >= INTERVAL:
            return None
        return known[1]

    def remember(self, signature: Signature | None, report: Report) -> None:
        """Remember that ``report`` has been recorded in full."""
        if signature is None:
            return
        if len(self._recorded) >= MAX_REMEMBERED and signature.key not in self._recorded:
            # With this many different errors in a second, duplicates are rare.
            self._recorded.clear()
        self._recorded[signature.key] = (time.monotonic(), report, signature)


def signature_of(record: logging.LogRecord) -> Signature | None:
    """Return what identifies a record's error, or ``None`` if that cannot be determined."""
    try:
        return _signature(record)
    except BaseException:  # the exception's __str__ may raise anything, SystemExit too
        return None


def _signature(record: logging.LogRecord) -> Signature | None:
    if record.stack_info or getattr(record, STACK, None):
        return None
    parts: list[Hashable] = [record.name, record.levelno, record.pathname, record.lineno]
    kept_alive: list[object] = []
    error = error_of(record)
    if error is None:
        parts.append(_comparable(getattr(record, GROUP, None) or message_of(record)))
    for link in _chain(error):
        if is_slow(link):
            raise _NotComparableError
        kept_alive.append(type(link))
        notes = tuple(_comparable(exact(note)) for note in getattr(link, "__notes__", ()))
        own = _comparable(exact(getattr(link, "report_fingerprint", "")))
        parts.append((id(type(link)), _comparable(exact(link)), notes, own))
        trace = link.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            kept_alive.append(code)
            parts.append((id(code), trace.tb_lasti))
            trace = trace.tb_next
            if len(kept_alive) > MAX_FRAMES:
                return None
    return Signature(tuple(parts), tuple(kept_alive))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its cause or context, and so on, as a traceback shows them."""
    for _ in range(MAX_CHAIN):
        if error is None:
            return
        if isinstance(error, BaseExceptionGroup):
            break
        yield error
        context = None if error.__suppress_context__ else error.__context__
        # Not "or": an exception may be false.
        error = context if error.__cause__ is None else error.__cause__
    raise _NotComparableError


def _comparable(text: str) -> str:
    """Return ``text``, or raise if comparing it would take too long."""
    if len(text) > MAX_TEXT:
        raise _NotComparableError
    return text
