"""Makes messages from reports: decides which errors are mailed at once and which are counted."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from ..mail import draft as drafts
from ..mail.content import REQUEST_IDS, Digest, HeldErrors
from ..mail.draft import Draft
from ..settings import AppSettings, ReportSettings
from ..spool import groups
from ..spool.mailbox import Mailbox
from ..spool.stored_mail import PendingErrors
from .budget import FairBudget
from .messages import MessageWriter
from .notice import draft_refused

HOUR: Final = 3600.0  # seconds
HELD_INTERVAL: Final = 10.0  # seconds between two examinations of all errors that are held back

logger = logging.getLogger(__name__)


def unchanged(draft: Draft) -> Draft:
    """Return a message as it is."""
    return draft


class Planner:
    """Makes the messages about the reports in ``mailbox``."""

    def __init__(
        self, mailbox: Mailbox, writer: MessageWriter, reports: ReportSettings, app: AppSettings
    ) -> None:
        self.mailbox = mailbox
        self.writer = writer
        self.reports = reports
        self.app = app
        self.unrenderable: set[str] = set()  # fingerprints
        self.is_leaving = False  # whether windows are cut short
        self.annotate: Callable[[Draft], Draft] = unchanged
        self._is_holding = False
        self._looked = 0.0  # when all errors were last examined
        self._seen = 0  # the id of the newest report that was examined

    def plan(self, now: float) -> None:
        """Make messages from the reports that have none, at the time ``now``.

        The first error of its kind is mailed at once, and so is one that comes back after it was
        resolved. Identical ones are counted until the window after that mail is over, and then
        mailed in one digest. What the hourly cap holds back is counted in one summary a window.
        """
        made = self.mailbox.mails_by_source(now - HOUR, now)
        budget = FairBudget(self.reports.mails_per_hour, made)
        last_summary = self.mailbox.last_mail_of_kind("summary", now)
        may_sum_up = now - last_summary >= self.reports.window
        if budget.is_used_up and not may_sum_up:
            return
        held = []
        for errors in self.due(now, look_at_all=may_sum_up):
            if not budget.allows(errors.source):
                held.append(errors)
            elif self._try_to_add(errors, now):
                budget.spend(errors.source)
        self._is_holding = self._is_holding or bool(held)
        if held and may_sum_up:
            self._add_summary(held, now)

    def add_notice(self, now: float) -> None:
        """Make a mail about the mails that the server has rejected for good, once a window.

        The server may reject a word that a visitor has sent. So the notice contains nothing from
        outside, or it would be rejected too.
        """
        if now - self.mailbox.last_mail_of_kind("notice", now) < self.reports.window:
            return
        count, request_ids = self.mailbox.refused_mails()
        if not count:
            return
        with self.mailbox.transaction():
            draft = draft_refused(count, request_ids, now, self.app)
            # The refused mails are counted already.
            notice_id = self.writer.add("notice", draft, now, count=0)
            self.mailbox.mention_refused(notice_id)

    def due(self, now: float, *, look_at_all: bool) -> list[PendingErrors]:
        """Return the errors that may be mailed now: new ones first, then the oldest.

        During a flood, thousands of different errors may be held back. Then only those that have
        just occurred are examined, except for a summary and every :data:`HELD_INTERVAL` seconds.
        """
        after = self._seen
        is_recent = 0 <= now - self._looked < HELD_INTERVAL
        newest = self.mailbox.newest_report()
        if look_at_all or not self._is_holding or not is_recent or after > newest:
            after, self._looked, self._is_holding = 0, now, False
        elif after == newest:
            return []
        self._seen = newest
        due = [
            errors
            for errors in self.mailbox.pending_errors(now, after)
            if errors.fingerprint not in self.unrenderable
            and (errors.is_back or self._window_is_over(errors, now))
        ]
        return sorted(due, key=lambda errors: not errors.is_back and errors.last_mail is not None)

    def _window_is_over(self, errors: PendingErrors, now: float) -> bool:
        return (
            self.is_leaving
            or errors.last_mail is None
            or now >= errors.last_mail + self.reports.window
        )

    def _try_to_add(self, errors: PendingErrors, now: float) -> bool:
        """Make the mail about these errors and return whether it was made; a failure is logged."""
        try:
            return self._add_report(errors, now)
        except sqlite3.Error:
            raise
        except Exception:
            self.unrenderable.add(errors.fingerprint)
            logger.exception("Cannot make a mail about the error %s", errors.fingerprint)
            return False

    def _add_report(self, errors: PendingErrors, now: float) -> bool:
        with self.mailbox.transaction():
            group = groups.load(self.mailbox, errors.fingerprint)
            resolved_at = group.resolved_at if group and errors.is_back else None
            found = self.mailbox.first_pending(errors.fingerprint, resolved_at)
            if found is None:
                return False  # an operator has just hidden them
            number, report = found
            last, digest = self._digest(errors)
            draft = drafts.draft_report(report, self.app, digest, group, is_back=errors.is_back)
            mail_id = self.writer.add(
                "digest" if digest else "report",
                self.annotate(draft),
                now,
                fingerprint=errors.fingerprint,
                source=errors.source,
            )
            if digest:
                self.mailbox.assign(mail_id, errors.fingerprint, last)
            else:
                self.mailbox.assign_one(mail_id, number)
            groups.count_mail(self.mailbox, errors.fingerprint)
        return True

    def _digest(self, errors: PendingErrors) -> tuple[int, Digest | None]:
        """Return the id of the last report to count, and the digest, if one is due."""
        last_mail, window = errors.last_mail, self.reports.window
        is_after_window = last_mail is None or errors.first >= last_mail + window
        if errors.is_back or is_after_window:
            return 0, None
        last, count, first, latest = self.mailbox.pending_span(errors.fingerprint)
        ids = self.mailbox.pending_request_ids(errors.fingerprint, last, REQUEST_IDS)
        return last, Digest(count, first, latest, ids)

    def _add_summary(self, held: list[PendingErrors], now: float) -> None:
        with self.mailbox.transaction():
            entries: list[HeldErrors] = []
            up_to: dict[str, int] = {}
            for errors in held:
                found = self.mailbox.first_pending(errors.fingerprint)
                if found is None:
                    continue  # an operator has just hidden them
                last, count, first, _ = self.mailbox.pending_span(errors.fingerprint)
                entries.append(HeldErrors(count, first, found[1], errors.is_back))
                up_to[errors.fingerprint] = last
            if not entries:
                return
            draft = drafts.draft_summary(entries, self.app, self.reports.mails_per_hour)
            mail_id = self.writer.add("summary", self.annotate(draft), now)
            for fingerprint, last in up_to.items():
                self.mailbox.assign(mail_id, fingerprint, last)
                groups.count_mail(self.mailbox, fingerprint)
            self.mailbox.add_to_counter("week_held", draft.count)
