"""Words that messages and mails share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def counted(number: int, noun: str) -> str:
    """Return ``number`` and ``noun``, in the plural unless the number is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable_line(text: str) -> str:
    """Return ``text`` as one line, with a space for each run of spaces and control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def result_or_reason(part: Callable[[], T], wrap: Callable[[str], T]) -> T:
    """Return what ``part`` returns; if it raises, what ``wrap`` makes of the reason, a text."""
    try:
        return part()
    except Exception as error:
        return wrap(reason(error))


def reason(error: Exception) -> str:
    """Return the text that stands for a part of a report that ``error`` prevented."""
    return f"(not available: {type(error).__name__})"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``12 s``, ``4 min 12 s``, ``2 d 3 h``."""
    rest = max(0, round(seconds))
    days, rest = divmod(rest, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or unit == parts[0][1])
