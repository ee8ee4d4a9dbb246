"""Makes mails of reports: which error is mailed at once, which is counted, and in which mail."""

from __future__ import annotations

import logging
import sqlite3
from email.utils import make_msgid

from ..mail import message as mail_message
from ..mail.content import REQUEST_IDS
from ..settings import AppSettings, MailSettings, ReportSettings
from ..spool.mailbox import Mailbox
from ..spool.stored_mail import NewMail, PendingErrors
from .notice import headline, render_refused

logger = logging.getLogger(__name__)


class Planner:
    """Makes the mails of ``mailbox``."""

    def __init__(
        self, mailbox: Mailbox, *, mail: MailSettings, reports: ReportSettings, app: AppSettings
    ) -> None:
        self.mailbox = mailbox
        self.mail = mail
        self.reports = reports
        self.app = app
        self.unrenderable: set[str] = set()  # fingerprints

    def plan(self, now: float) -> None:
        """Make mails of the reports that have none, at the time ``now``.

        The first error of its kind is mailed at once. Identical ones are counted until the window
        after that mail is over, and then mailed in one digest. Where the hourly cap is reached,
        the others are held and counted in one summary a window.
        """
        window = self.reports.window
        budget = self.reports.mails_per_hour - self.mailbox.mails_between(now - 3600, now)
        may_sum_up = now - self.mailbox.last_mail_of_kind("summary", now) >= window
        if budget <= 0 and not may_sum_up:
            return
        held: list[PendingErrors] = []
        for errors in self.mailbox.pending_errors(now):
            if errors.last_mail is not None and now < errors.last_mail + window:
                continue
            if errors.fingerprint in self.unrenderable:
                continue
            if budget > 0:
                budget -= self._try_to_add(errors, now)
            else:
                held.append(errors)
        if held and may_sum_up:
            self._add_summary(held, now)

    def add_notice(self, now: float) -> None:
        """Make a mail about those that the server refuses for good, once a window.

        What it refuses may be a word that a visitor has sent: the notice holds nothing from
        outside, so that it is not refused too.
        """
        if now - self.mailbox.last_mail_of_kind("notice", now) < self.reports.window:
            return
        count, request_ids = self.mailbox.refused_mails()
        if not count:
            return
        envelope = self._envelope(now, None)
        with self.mailbox.transaction():
            notice_id = self.mailbox.add_mail(
                NewMail(
                    message_id=envelope.message_id,
                    kind="notice",
                    fingerprint=None,
                    created=now,
                    count=0,  # the refused mails are counted already
                    subject=f"[{self.app.label}] {headline(count)}",
                    content=render_refused(count, request_ids, envelope),
                    recipients=self.mail.admins,
                )
            )
            self.mailbox.mention_refused(notice_id)

    def _try_to_add(self, errors: PendingErrors, now: float) -> bool:
        """Make the mail of these errors; return whether that was possible, for the others' sake."""
        try:
            self._add_report(errors, now)
        except sqlite3.Error:
            raise
        except Exception:
            self.unrenderable.add(errors.fingerprint)
            logger.exception("Cannot make a mail of the reports %s", errors.fingerprint)
            return False
        return True

    def _add_report(self, errors: PendingErrors, now: float) -> None:
        with self.mailbox.transaction():
            last, report = self.mailbox.first_pending(errors.fingerprint)
            digest = None
            if (
                errors.last_mail is not None
                and errors.first < errors.last_mail + self.reports.window
            ):
                last, count, first, latest = self.mailbox.pending_span(errors.fingerprint)
                ids = self.mailbox.pending_request_ids(errors.fingerprint, last, REQUEST_IDS)
                digest = mail_message.Digest(count, first, latest, ids)
            envelope = self._envelope(now, self.mailbox.first_message_id(errors.fingerprint))
            mail_id = self.mailbox.add_mail(
                NewMail(
                    message_id=envelope.message_id,
                    kind="digest" if digest else "report",
                    fingerprint=errors.fingerprint,
                    created=now,
                    count=digest.count if digest else 1,
                    subject=mail_message.report_subject(
                        report,
                        mail_message.app_of(report, self.app).label,
                        digest.count if digest else None,
                    ),
                    content=mail_message.render_report(report, envelope, digest),
                    recipients=self.mail.admins,
                )
            )
            self.mailbox.assign(mail_id, errors.fingerprint, last)

    def _add_summary(self, held: list[PendingErrors], now: float) -> None:
        with self.mailbox.transaction():
            entries: list[mail_message.HeldErrors] = []
            up_to: dict[str, int] = {}
            for errors in held:
                last, count, first, _ = self.mailbox.pending_span(errors.fingerprint)
                _, report = self.mailbox.first_pending(errors.fingerprint)
                entries.append(mail_message.HeldErrors(count, first, report))
                up_to[errors.fingerprint] = last
            envelope = self._envelope(now, None)
            total = sum(entry.count for entry in entries)
            mail_id = self.mailbox.add_mail(
                NewMail(
                    message_id=envelope.message_id,
                    kind="summary",
                    fingerprint=None,
                    created=now,
                    count=total,
                    subject=mail_message.summary_subject(entries, self.app.label),
                    content=mail_message.render_summary(
                        entries, envelope, self.reports.mails_per_hour
                    ),
                    recipients=self.mail.admins,
                )
            )
            for fingerprint, last in up_to.items():
                self.mailbox.assign(mail_id, fingerprint, last)

    def _envelope(self, now: float, thread: str | None) -> mail_message.Envelope:
        sender = self.mail.sender
        message_id = make_msgid(domain=sender.rpartition("@")[2])
        return mail_message.Envelope(sender, self.mail.admins, message_id, thread, now, self.app)
