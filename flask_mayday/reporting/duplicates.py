"""Equal errors in quick succession: one a second is told whole, the others refer to it.

In a flood the whole report is what costs: the traceback with its source, the request with every
header redacted. A repeat has the same traceback by definition, and is made in a tenth of the time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from ..context.record_fields import STACK, message_of
from ..report.report import Report
from ..report.traceback_reader import exact

INTERVAL: Final = 1.0  # seconds for which a whole report stands for its repeats
KINDS_MAXIMUM: Final = 256  # remembered, in each process
LINKS_MAXIMUM: Final = 10  # exceptions that led to one another
FRAMES_MAXIMUM: Final = 200  # of all of them
TEXT_MAXIMUM: Final = 2000  # characters of a message


class UnlikeError(Exception):
    """An error that is compared with no other: it is told whole each time."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What makes two errors equal: types, texts, and each frame's code and position.

    ``held`` keeps alive what ``key`` knows by its address only.
    """

    key: Hashable
    held: tuple[object, ...]


class Repeats:
    """Remembers which errors this process has just told whole."""

    def __init__(self) -> None:
        self._told: dict[Hashable, tuple[float, Report, Occurrence]] = {}

    def whole(self, occurrence: Occurrence | None) -> Report | None:
        """Return the whole report of an equal error, if that is not older than a second."""
        known = None if occurrence is None else self._told.get(occurrence.key)
        if known is None or time.monotonic() - known[0] >= INTERVAL:
            return None
        return known[1]

    def told(self, occurrence: Occurrence | None, report: Report) -> None:
        """Note that ``report`` is in the spool, whole."""
        if occurrence is None:
            return
        if len(self._told) >= KINDS_MAXIMUM and occurrence.key not in self._told:
            self._told.clear()  # so many kinds within a second are no repeats
        self._told[occurrence.key] = (time.monotonic(), report, occurrence)


def occurrence_of(record: logging.LogRecord) -> Occurrence | None:
    """Return what an equal record has in common with this one; None where that is not clear."""
    try:
        return _occurrence(record)
    except BaseException:  # an exception's text may be the work of any code, and exit too
        return None


def _occurrence(record: logging.LogRecord) -> Occurrence | None:
    if record.stack_info or getattr(record, STACK, None):
        return None
    parts: list[Hashable] = [record.name, record.levelno, record.pathname, record.lineno]
    held: list[object] = []
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        parts.append(_short(message_of(record)))
    for link in _chain(error):
        held.append(type(link))
        notes = tuple(_short(exact(note)) for note in getattr(link, "__notes__", ()))
        own = _short(exact(getattr(link, "report_fingerprint", "")))
        parts.append((id(type(link)), _short(exact(link)), notes, own))
        trace = link.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            held.append(code)
            parts.append((id(code), trace.tb_lasti))
            trace = trace.tb_next
            if len(held) > FRAMES_MAXIMUM:
                return None
    return Occurrence(tuple(parts), tuple(held))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came of, as a traceback shows them."""
    for _ in range(LINKS_MAXIMUM):
        if error is None:
            return
        if isinstance(error, BaseExceptionGroup):
            break
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context
    raise UnlikeError


def _short(text: str) -> str:
    if len(text) > TEXT_MAXIMUM:
        raise UnlikeError
    return text
