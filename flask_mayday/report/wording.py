"""Words that messages and mails share."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``number`` and ``noun``, in the plural unless the number is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def not_available(error: Exception) -> str:
    """Return what stands in the place of a part that could not be made."""
    return f"(not available: {type(error).__name__})"
