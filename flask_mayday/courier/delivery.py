"""Delivers mails: takes in reports, makes mails from them, sends those that are due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from functools import partial
from typing import Final

from ..context.record_fields import UNREPORTED
from ..report.wording import counted
from ..settings import (
    AgreementSettings,
    AppSettings,
    MailSettings,
    ReportSettings,
    WebhookSettings,
)
from ..spool import recovery, retention
from ..spool.inventory import STUCK
from ..spool.mailbox import Mailbox
from ..spool.posts import posts_wait_since
from ..spool.stored_mail import StoredMail
from .backoff import MAX_BACKOFF, backoff
from .messages import MessageWriter
from .pending_replies import PendingReplies
from .planner import HOUR, Planner
from .shared_planner import SharedPlanner
from .smtp_session import Fate, SmtpSession, Verdict
from .tasks import Tasks
from .weekly import WeeklySummary

UNCONFIRMED_ATTEMPTS: Final = 3  # after which a mail counts as delivered
PROBABLY: Final = (
    f"Probably delivered: the server confirmed none of {UNCONFIRMED_ATTEMPTS} attempts."
)
DOWN_AFTER: Final = 2  # mails in a row that the server defers before it counts as down
MISSED: Final = "An error mail did not reach all of its recipients: %s"
UNSURE: Final = "An error mail may not have reached all of its recipients: %s"
NO_WEBHOOK: Final = WebhookSettings()
NO_AGREEMENT: Final = AgreementSettings()
MAIL_STUCK: Final = (
    "Error mails are stuck: the first has waited for %.0f minutes. "
    "Run `flask mayday reports test` to see why"
)
WEBHOOK_STUCK: Final = (
    "Messages to the webhook are stuck: the first has waited for %.0f minutes. "
    "Run `flask mayday reports list` to see why"
)

logger = logging.getLogger(__name__)


class Delivery:
    """Takes in reports, plans and sends mails for ``mailbox``.

    It stops between two mails once ``stopping`` is set. ``clock`` is used to schedule retries.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        mail: MailSettings,
        reports: ReportSettings,
        app: AppSettings,
        stopping: threading.Event,
        webhook: WebhookSettings = NO_WEBHOOK,
        agreement: AgreementSettings = NO_AGREEMENT,
        tasks: Tasks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.mailbox = mailbox
        self.mail = mail
        self.reports = reports
        self.webhook = webhook
        writer = MessageWriter(mailbox, mail=mail, webhook=webhook)
        self.planner = Planner(mailbox, writer, reports, app)
        self.shared: SharedPlanner | None = None
        if agreement.url:
            self.shared = SharedPlanner(mailbox, writer, self.planner, agreement, reports, app)
        self.weekly = WeeklySummary(mailbox, writer, reports, app)
        self.stopping = stopping
        self.tasks = tasks or Tasks(reports.window)
        self.clock = clock
        self.failures = 0  # of the server, in a row
        self.pending: PendingReplies[StoredMail, Verdict] = PendingReplies()

    def run(self, now: float) -> None:
        """Deliver once at the time ``now``, in seconds since the epoch."""
        self.tasks.progress = time.monotonic()
        recent = now - max(self.reports.window, HOUR)
        if self.tasks.recover.begin_if_due(now):
            recovery.recover(self.mailbox)
        self.take_incoming(now, recent)
        if self.mail.server or self.webhook.url:
            (self.shared or self.planner).plan(now)
            self.weekly.add(now)
        if self.mail.server:
            self.send(now)
            self.planner.add_notice(now)
        if self.shared is not None:
            self.shared.after_sending()
        self.log_stuck(now)
        retention.evict(self.mailbox, recent)
        self.mailbox.keep_wal_small()
        self.report_dropped(now)
        if self.tasks.expire.begin_if_due(now):
            self.expire(now - self.reports.keep_days * 86_400, recent)

    def take_incoming(self, now: float, recent: float) -> None:
        """Move reports from files into the database; if that fails, those already there are mailed.

        Reports that cannot be read are logged once an hour.
        """
        incoming = self.mailbox.outbox.incoming
        try:
            self.mailbox.take_incoming(partial(retention.evict, self.mailbox, recent))
            unreadable = [str(path) for path in incoming.unreadable()]
        except OSError as error:
            unreadable = [str(error)]
        if unreadable and self.tasks.log_unreadable.begin_if_due(now):
            logger.error(
                "Reports in %s cannot be read, check the owner of the files: %s",
                incoming.folder,
                ", ".join(unreadable[:10]),
            )

    def expire(self, before: float, recent: float) -> None:
        """Delete what is older than ``before`` and not needed any more."""
        retention.expire(self.mailbox, before, recent)
        retention.expire_refused(self.mailbox, before)
        recovery.expire(self.mailbox.outbox, before)
        self.mailbox.outbox.incoming.expire(before)

    def log_stuck(self, now: float) -> None:
        """Log, once an hour, that a message has waited for an hour.

        It is reported too, if another channel can deliver the report.
        """
        since = {
            MAIL_STUCK: self.mailbox.waiting_since() if self.mail.server else None,
            WEBHOOK_STUCK: posts_wait_since(self.mailbox) if self.webhook.url else None,
        }
        stuck = {text: one for text, one in since.items() if one and now - one >= STUCK}
        if not stuck or not self.tasks.log_stuck.begin_if_due(now):
            return
        channels = bool(self.mail.server) + bool(self.webhook.url)
        for text, one in stuck.items():
            logger.critical(text, (now - one) / 60, extra={UNREPORTED: len(stuck) == channels})

    def report_dropped(self, now: float) -> None:
        """Report, once a window, how many errors were evicted without a mail.

        While no mail gets through it is logged only: its report would be evicted too.
        """
        counters = {"dropped": "dropped", "unposted": "not posted to the webhook"}
        counts = {name: self.mailbox.counter(name) for name in counters}
        if not any(counts.values()) or not self.tasks.report_dropped.begin_if_due(now):
            return
        for name, what in counters.items():
            if (count := counts[name]) == 0:
                continue
            logger.error(
                "%s %s because the spool was full. The log still has %s. Raise SPOOL_MAX_BYTES "
                "(now %d), or run `flask mayday reports list` to see what is waiting.",
                f"{counted(count, 'error report')} {'was' if count == 1 else 'were'}",
                what,
                "it" if count == 1 else "them",
                self.mailbox.outbox.max_bytes,
                extra={UNREPORTED: self.failures > 0},
            )
            if not self.failures:
                with self.mailbox.transaction():
                    self.mailbox.add_to_counter(name, -count)

    def send(self, now: float) -> None:
        """Send the mails that are due; stop when it turns out that the server takes none.

        Those with the fewest tries come first, so that mails which never get through do not hold
        up the others.
        """
        for item, verdict in self.pending.settled():
            self.mailbox.count_unconfirmed(item, -1)
            self._note(item, verdict)
        if self.failures:
            self.mailbox.postpone_new()
        postponed = 0
        with SmtpSession(self.mail, pending=True) as session:
            for item in self.mailbox.due(now, MAX_BACKOFF):
                if self.stopping.is_set() or self.pending.is_full:
                    return
                if item.id in self.pending:
                    continue
                if self.shared is not None and not self.shared.may_send(item):
                    continue  # another machine sends it
                self.tasks.progress = time.monotonic()
                self.mailbox.check_writable(item)
                if self.mailbox.count_unconfirmed(item, 0) >= UNCONFIRMED_ATTEMPTS:
                    self.mailbox.finish(item, "delivered", PROBABLY)
                    continue
                verdict = session.send(item.recipients or self.mail.admins, item.content)
                fate = self._note(item, verdict)
                postponed = postponed + 1 if fate is Fate.WAITS else 0
                if fate is Fate.ALL_WAIT or postponed >= DOWN_AFTER:
                    self._postpone_all(verdict.words)
                    return
                self.failures = self.failures if postponed else 0

    def _note(self, item: StoredMail, verdict: Verdict) -> Fate:
        """Record the outcome of a mail; return what it means for the others."""
        recipients, fate = verdict.later or item.recipients, verdict.fate
        match fate:
            case Fate.DELIVERED:
                self.mailbox.finish(item, "delivered", verdict.words or None)
            case Fate.NOBODY if _others_have_it(item):
                self.mailbox.finish(item, "delivered", verdict.words)
            case Fate.NOBODY:
                # ADMINS is wrong: the next try goes to its value at that time.
                self.mailbox.postpone(item, self.clock(), verdict.words, ())
                return Fate.ALL_WAIT
            case Fate.FAILED if self.mailbox.has_delivered_since(item):
                self.mailbox.finish(item, "failed", verdict.words)
            case Fate.UNCONFIRMED:
                fate = self._note_unconfirmed(item, verdict)
            case Fate.FAILED | Fate.WAITS:
                until = self.clock() + backoff(item.tries + 1)
                self.mailbox.postpone(item, until, verdict.words, recipients)
                fate = Fate.WAITS
        if verdict.words and verdict.fate is not Fate.ALL_WAIT and verdict.pending is None:
            logger.warning(UNSURE if verdict.fate is Fate.UNCONFIRMED else MISSED, verdict.words)
        asked = item.recipients or self.mail.admins
        # A server that has taken the mail for some recipients is not down: go on with the others.
        return Fate.DELIVERED if 0 < len(recipients) < len(asked) else fate

    def _note_unconfirmed(self, item: StoredMail, verdict: Verdict) -> Fate:
        """Record that a mail may have been delivered; after three attempts, that it probably was.

        This is recorded as soon as the wait for the server's reply begins, because the process
        may end before the reply comes. A server that closes the connection at the end of a mail,
        and has confirmed none since this one was made, may accept no mail at all: the mail waits.
        """
        counts = (
            not verdict.is_cut or _others_have_it(item) or self.mailbox.has_delivered_since(item)
        )
        attempts = self.mailbox.count_unconfirmed(item, 1 if counts else 0)
        if verdict.pending is not None:
            until = self.clock() + MAX_BACKOFF
            self.mailbox.await_reply(item, until, verdict.words, verdict.again)
            self.pending.add(item.id, item, verdict.pending)
            return Fate.DELIVERED
        again = verdict.again
        if attempts >= UNCONFIRMED_ATTEMPTS:
            self.mailbox.count_unconfirmed(item, -attempts)
            again = verdict.later
        if again:
            until = self.clock() + backoff(item.tries + 1)
            self.mailbox.postpone(item, until, verdict.words, again)
        else:
            self.mailbox.finish(item, "delivered", f"{PROBABLY} {verdict.words}")
        return Fate.WAITS

    def leave(self) -> None:
        """Deliver also what waits for the end of a window: nobody delivers here afterwards."""
        self.stopping = threading.Event()
        if self.shared is not None:
            self.shared.is_leaving = True

    def is_holding(self) -> bool:
        """Return whether any error that is to be mailed is in no mail of this machine yet."""
        has_pending = bool(self.mailbox.pending_errors(self.clock()))
        return has_pending or (self.shared is not None and self.shared.is_holding())

    def close(self) -> None:
        """Close the connections on which replies are awaited; those mails are sent again."""
        self.pending.close()
        if self.shared is not None:
            self.shared.close()

    def _postpone_all(self, words: str) -> None:
        self.failures += 1
        wait = backoff(self.failures)
        self.mailbox.postpone_all(self.clock() + wait, words)
        logger.warning("No error mail can be sent, next try in %.0f s: %s", wait, words)


def _others_have_it(item: StoredMail) -> bool:
    """Return whether the mail waits for some of its recipients only."""
    to = message_from_bytes(item.content, policy=policy.default)["To"]
    addressed = {one.addr_spec for one in to.addresses} if to is not None else set()
    return bool(item.recipients) and set(item.recipients) < addressed
