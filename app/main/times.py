"""Template filters that format times: relative, as a date, and exact."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ..models import now

UNITS: Final = ((60, "minute"), (60 * 60, "hour"), (24 * 60 * 60, "day"))
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
RELATIVE_LIMIT: Final = 30 * 24 * 60 * 60  # seconds; older times are shown as a date


def ago(moment: datetime) -> str:
    """Return how long ago ``moment`` was, such as ``5 minutes ago``; after 30 days its date."""
    # Clocks differ between containers, so a new post can have a time in the future.
    seconds = max(0, int((now() - moment).total_seconds()))
    if seconds >= RELATIVE_LIMIT:
        return day(moment)
    text = "just now"
    for length, unit in UNITS:
        count = seconds // length
        if count:
            text = f"{count} {unit}{'s' if count > 1 else ''} ago"
    return text


def day(moment: datetime) -> str:
    """Return the date, such as ``7 March 2026``."""
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"


def exact(moment: datetime) -> str:
    """Return the date and the time, such as ``7 March 2026, 14:05:09 UTC``."""
    return f"{day(moment)}, {moment.time().isoformat('seconds')} UTC"
