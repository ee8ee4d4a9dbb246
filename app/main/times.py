"""Times as people read them: how long ago, and exactly when."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ..models import now

UNITS: Final = ((60, "minute"), (60 * 60, "hour"), (24 * 60 * 60, "day"))
LONG_AGO: Final = 30 * 24 * 60 * 60  # seconds: from here on a date says more


def ago(moment: datetime) -> str:
    """Return how long ago ``moment`` was, such as ``5 minutes ago``; its date if that is long."""
    # Clocks differ between containers: what one has just written can lie ahead for another.
    seconds = max(0, int((now() - moment).total_seconds()))
    if seconds >= LONG_AGO:
        return day(moment)
    text = "just now"
    for length, unit in UNITS:
        count = seconds // length
        if count:
            text = f"{count} {unit}{'s' if count > 1 else ''} ago"
    return text


def day(moment: datetime) -> str:
    """Return the date, such as ``7 March 2026``."""
    return f"{moment.day} {moment:%B %Y}"


def exact(moment: datetime) -> str:
    """Return date and time, such as ``7 March 2026, 14:05:09 UTC``."""
    return f"{day(moment)}, {moment:%H:%M:%S} UTC"
