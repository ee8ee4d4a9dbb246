"""Makes the weekly summary: one for each week, whichever process delivers then."""

from __future__ import annotations

from typing import Final

from ..mail.weekly import draft_weekly
from ..settings import AppSettings, ReportSettings
from ..spool.mailbox import Mailbox
from ..spool.week import UNTIL, begin_week, read_week, week_start
from .messages import MessageWriter

WEEK: Final = 7 * 86_400.0  # seconds
FIRST_MONDAY: Final = 4 * 86_400.0  # 1970-01-05, in seconds since the epoch


def last_monday(now: float) -> float:
    """Return the beginning of the week (Monday, 00:00 UTC) in which ``now`` is."""
    return now - (now - FIRST_MONDAY) % WEEK


class WeeklySummary:
    """Adds the summary of each week to ``mailbox`` when the week is over.

    The end of the last summary is in the database, and is changed in the transaction that adds the
    mail. If no process delivered when a week ended, the next summary covers that week too.
    """

    def __init__(
        self, mailbox: Mailbox, writer: MessageWriter, reports: ReportSettings, app: AppSettings
    ) -> None:
        self.mailbox = mailbox
        self.writer = writer
        self.is_on = reports.summary == "weekly"
        self.app = app

    def add(self, now: float) -> None:
        """Add a summary if a week has ended since the last one; ``now`` is the current time.

        The first summary covers the time since summaries were switched on.
        """
        since = week_start(self.mailbox)
        until = last_monday(now)
        if not self.is_on:
            if since is not None:
                with self.mailbox.transaction():
                    self.mailbox.delete_counter(UNTIL)
        elif since is None or since > now:  # the clock was set back
            with self.mailbox.transaction():
                begin_week(self.mailbox, now)
        elif since < until:
            with self.mailbox.transaction():
                week = read_week(self.mailbox, since, until)
                self.writer.add("weekly", draft_weekly(week, self.app), now)
                begin_week(self.mailbox, until)
