"""The counts for the weekly summary: what happened since the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .database import Database
from .error_group import ErrorGroup, State
from .groups import load_all
from .ignore_rules import IgnoreRule, ignore_rules
from .outages import outages_between

UNTIL: Final = "week_until"  # the counter with the end of the last summary, in whole seconds
DELIVERED: Final = "week_delivered"  # mails
POSTED: Final = "week_posted"  # messages to the webhook
HELD: Final = "week_held"  # errors that were only counted in a summary, because of the hourly cap
EVICTED: Final = "week_evicted"  # errors of groups that were deleted because the spool was full


@dataclass(frozen=True, slots=True)
class Week:
    """The counts from ``since`` to ``until``, in seconds since the epoch.

    ``errors`` includes ``hidden``. ``groups`` are those with an error or a change of state since,
    ``waiting`` the mails that wait, ``down`` how many seconds the site was down, and ``pages`` how
    many visitors got nginx's error page meanwhile.
    """

    since: float
    until: float
    errors: int
    hidden: int
    groups: list[ErrorGroup]
    muted: int
    rules: list[IgnoreRule]
    delivered: int
    posted: int
    held: int
    waiting: int
    outages: int
    down: float
    pages: int

    def is_in(self, moment: float | None) -> bool:
        """Return whether a time is in this week."""
        return moment is not None and self.since <= moment < self.until


def week_start(database: Database) -> float | None:
    """Return the end of the last weekly summary, or ``None`` if there was none."""
    return float(database.counter(UNTIL)) or None


def read_week(database: Database, since: float, until: float) -> Week:
    """Return what happened since the last call of :func:`begin_week`.

    ``since`` and ``until`` bound the outages and the list of groups. The other numbers include what
    happened between ``until`` and this call, and :func:`begin_week` starts them anew.
    """
    groups = load_all(database)
    for group in groups:
        group.end_mute(until)
    outages = outages_between(database, since, until)
    query = "SELECT count(*) FROM mails WHERE state = 'waiting'"
    evicted = database.counter(EVICTED)
    return Week(
        since=since,
        until=until,
        errors=sum(group.count - group.week_count for group in groups) + evicted,
        hidden=sum(group.hidden - group.week_hidden for group in groups),
        groups=[group for group in groups if _has_changed(group, since)],
        muted=sum(group.state is State.MUTED for group in groups),
        rules=ignore_rules(database),
        delivered=database.counter(DELIVERED),
        posted=database.counter(POSTED),
        held=database.counter(HELD),
        waiting=int(database.connection.execute(query).fetchone()[0]),
        outages=len(outages),
        down=sum(outage.seconds(since, until) for outage in outages),
        pages=sum(outage.pages for outage in outages if outage.began >= since),
    )


def begin_week(database: Database, until: float) -> None:
    """Start the counts of the next summary, within a transaction."""
    database.connection.execute("UPDATE error_groups SET week_count = count, week_hidden = hidden")
    for name in (DELIVERED, POSTED, HELD, EVICTED, UNTIL):
        database.delete_counter(name)
    database.add_to_counter(UNTIL, int(until))


def _has_changed(group: ErrorGroup, since: float) -> bool:
    changed = (group.resolved_at, group.back_at)
    return group.count > group.week_count or any(one and one >= since for one in changed)
