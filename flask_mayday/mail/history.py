"""What a mail says about the error group: when it was first seen, resolved or muted."""

from __future__ import annotations

from ..report.report import Report
from ..report.wording import counted
from ..spool.error_group import ErrorGroup
from .times import moment


def history_rows(group: ErrorGroup, report: Report, *, is_back: bool) -> list[tuple[str, str]]:
    """Return the rows about a group for the mail about ``report``, one of its errors.

    ``is_back`` says that the mail is the first since the resolved error came back.
    """
    first = f"{moment(group.first_seen)} in {release(group.first_release)}"
    total = f"; {counted(group.count, 'time')} in all" if group.count > 1 else ""
    rows = [("First seen", first + total)]
    if is_back and group.resolved_at is not None:
        resolved = f"{moment(group.resolved_at)} in {release(group.resolved_release)}"
        rows.append(("Resolved", f"{resolved}; back in {release(report.release)}"))
    if group.muted_count:
        errors = counted(group.muted_count, "error")
        rows.append(("Muted", f"{errors} not mailed since {moment(group.muted_at or 0.0)}"))
    return rows


def release(name: str) -> str:
    """Return the words for a release in a sentence."""
    return f"release {name}" if name else "an unknown release"
