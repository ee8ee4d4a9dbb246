"""The weekly summary as a message."""

from __future__ import annotations

from ..report.wording import counted, duration
from ..settings import AppSettings
from ..spool.error_group import ErrorGroup, State
from ..spool.week import Week
from .content import MAX_GROUPS, Content, Lines, Rows, Section, app_rows
from .draft import Draft
from .subject import one_line
from .times import moment


def draft_weekly(week: Week, app: AppSettings) -> Draft:
    """Return the summary of a week. It reports no errors of its own, so its count is 0."""
    kinds = sum(group.count > group.week_count for group in week.groups)
    what = f"Weekly summary: {counted(week.errors, 'error')} of {counted(kinds, 'kind')}"
    sections: list[Section] = [Rows("Errors", _errors(week))]
    if week.groups:
        sections.append(Lines("Most frequent first", _groups(week)))
    if week.rules:
        sections.append(Lines("Ignore rules", _rules(week)))
    sections += [
        Rows("Delivery", _delivery(week)),
        Rows("Site", [("Down", _down(week))]),
        Rows("Origin", app_rows(app)),
    ]
    where = f"From {moment(week.since)} to {moment(week.until)}"
    return Draft(app, one_line(f"[{app.label}] {what}"), Content(what, where, sections))


def _errors(week: Week) -> list[tuple[str, str]]:
    def changed(*moments: float | None) -> str:
        return str(sum(map(week.is_in, moments)))

    return [
        ("Errors", str(week.errors)),
        ("Hidden", f"{week.hidden} of them, because they are muted or ignored"),
        ("New kinds", changed(*(group.first_seen for group in week.groups))),
        ("Resolved", changed(*(group.resolved_at for group in week.groups))),
        ("Back", changed(*(group.back_at for group in week.groups))),
        ("Muted now", str(week.muted)),
    ]


def _groups(week: Week) -> list[str]:
    ordered = sorted(week.groups, key=lambda group: group.week_count - group.count)
    lines = []
    for group in ordered[:MAX_GROUPS]:
        count, hidden = group.count - group.week_count, group.hidden - group.week_hidden
        lines.append(f"{count:>7} x {group.title}")
        state = _state(group, week)
        also = f", {hidden} of them hidden" if hidden else ""
        lines.append(f"          {state}{also}, fingerprint {group.fingerprint}")
    if others := ordered[MAX_GROUPS:]:
        count = sum(group.count - group.week_count for group in others)
        lines.append(f"and {counted(count, 'error')} of {counted(len(others), 'more kind')}")
    return lines


def _state(group: ErrorGroup, week: Week) -> str:
    if group.state is State.MUTED or not week.is_in(group.first_seen):
        return group.state.value
    return State.NEW.value if group.state is State.KNOWN else group.state.value


def _rules(week: Week) -> list[str]:
    return [f"{rule.hidden:>7} hidden so far by rule {rule.id}: {rule}" for rule in week.rules]


def _delivery(week: Week) -> list[tuple[str, str]]:
    rows = [
        ("Mails delivered", str(week.delivered)),
        ("Mails waiting", str(week.waiting)),
        ("Errors held", f"{week.held}, counted in summaries because of the hourly cap"),
    ]
    return [*rows, *([("Webhook", f"{week.posted} delivered")] if week.posted else [])]


def _down(week: Week) -> str:
    if not week.outages:
        return "never"
    times = counted(week.outages, "time")
    visitors = counted(week.pages, "error page")
    return f"{duration(week.down)} in total, {times}; visitors got {visitors} from nginx"
