"""One round of the courier: take in what waits, make mails of it, send those that are due."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.utils import make_msgid
from functools import partial
from typing import Final

from ..context.record_fields import UNREPORTED
from ..mail import message as mail
from ..settings import Settings
from ..spool import quota as room
from ..spool import recovery as salvage
from ..spool.database import STUCK, waiting_since
from ..spool.mailbox import Group, Mail, Queue
from .pending_replies import PendingReplies
from .smtp_session import Fate, SmtpSession, Verdict

BACKOFF_MAXIMUM: Final = 300.0  # seconds
REQUEST_IDS: Final = 20  # in a digest
UNCONFIRMED_ATTEMPTS: Final = 3  # after which a mail counts as delivered
PROBABLY: Final = f"Probably delivered, {UNCONFIRMED_ATTEMPTS} attempts were not confirmed."
IN_VAIN: Final = 2  # mails in a row that a server does not take for now: then it counts as down
PURGE_INTERVAL: Final = 3600.0  # seconds
SALVAGE_INTERVAL: Final = 60.0  # seconds between two tries to take over from a broken database

logger = logging.getLogger(__name__)


def backoff(tries: int) -> float:
    """Return how long to wait, in seconds, after the ``tries``-th failure in a row.

    Doubles from a second to five minutes; the jitter keeps several stacks from knocking on
    a mail server that comes back all at once.
    """
    limit = min(BACKOFF_MAXIMUM, 2.0 ** min(tries - 1, 16))
    return limit * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


class Rarely:
    """Lets something be done once in so many seconds, however often rounds fail and begin anew."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def may(self, what: Callable[..., None], now: float, seconds: float) -> bool:
        """Tell whether it may be done at the time ``now``, and note that it is."""
        name = what.__name__
        if name in self._last and 0 <= now - self._last[name] < seconds:
            return False
        self._last[name] = now
        return True


class Round:
    """What the courier does each time: collect, plan, send."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        stopping: threading.Event,
        clock: Callable[[], float] = time.time,
        rarely: Rarely | None = None,
    ) -> None:
        self.settings = settings
        self.queue = queue
        self.stopping = stopping
        self.clock = clock
        self.failures = 0  # of the server, in a row
        self.pending: PendingReplies[Mail, Verdict] = PendingReplies()
        self.rarely = rarely or Rarely()
        self.unmailable: set[str] = set()  # fingerprints

    def run(self, now: float) -> None:
        """Make one round at the time ``now``, in seconds since the epoch."""
        recent = now - max(self.settings.reports.window, 3600)
        if self.rarely.may(salvage.salvage, now, SALVAGE_INTERVAL):
            salvage.salvage(self.queue)
        self.take_incoming(now, recent)
        if self.settings.mail.server:
            self.plan(now)
            self.send(now)
            self.tell_stuck(now)
        room.make_room(self.queue, recent)
        self.queue.shorten_log()
        self.tell_dropped(now)
        if self.rarely.may(self.run, now, PURGE_INTERVAL):
            keep_from = now - self.settings.reports.keep_days * 86_400
            self.queue.purge(keep_from)
            room.drop_failed(self.queue, keep_from)
            salvage.purge(self.queue.outbox, keep_from)

    def take_incoming(self, now: float, recent: float) -> None:
        """Take in what waits in files; what is in the database is mailed even if that fails."""
        try:
            self.queue.take_incoming(partial(room.make_room, self.queue, recent))
        except OSError as error:
            if self.rarely.may(self.take_incoming, now, STUCK):
                logger.error(
                    "The files of %s cannot be taken in: %s", self.queue.outbox.folder, error
                )

    def tell_stuck(self, now: float) -> None:
        """Say in the log, once an hour, that mail has waited for an hour: mail cannot say it."""
        since = waiting_since(self.queue.connection)
        if since is None or now - since < STUCK:
            return
        if not self.rarely.may(self.tell_stuck, now, STUCK):
            return
        logger.critical(
            "Error mails are stuck: the first has waited for %.0f minutes. "
            "`flask reports test` tells what is wrong",
            (now - since) / 60,
            extra={UNREPORTED: True},
        )

    def tell_dropped(self, now: float) -> None:
        """Report, once a window, how many errors had to make room for others.

        While no mail gets through it is said in the log only: the report of it would have to make
        room itself.
        """
        count = room.dropped(self.queue)
        window = self.settings.reports.window
        if not count or not self.rarely.may(self.tell_dropped, now, window):
            return
        logger.error(
            "%d errors are in the log only: the spool was full, and they had to make room. Raise "
            "SPOOL_MAX_BYTES=%d, or see with `flask reports list` why so much waits",
            count,
            self.settings.spool.max_bytes,
            extra={UNREPORTED: self.failures > 0},
        )
        if not self.failures:
            room.told(self.queue, count)

    def plan(self, now: float) -> None:
        """Make mails of the reports that have none, but for those that are only counted yet.

        The first error of its kind is mailed at once. Its repeats are counted until the window
        after that mail is over and then told in one digest. Where the hourly cap is reached,
        the others are held and told in one summary a window.
        """
        window = self.settings.reports.window
        room = self.settings.reports.mails_per_hour - self.queue.mails_between(now - 3600, now)
        may_sum_up = now - self.queue.last_summary(now) >= window
        if room <= 0 and not may_sum_up:
            return
        held: list[Group] = []
        for group in self.queue.groups(now):
            if group.last_mail is not None and now < group.last_mail + window:
                continue
            if group.fingerprint in self.unmailable:
                continue
            if room > 0:
                room -= self._queued(group, now)
            else:
                held.append(group)
        if held and may_sum_up:
            self._queue_summary(held, now)

    def _queued(self, group: Group, now: float) -> bool:
        """Queue a group's mail; tell whether that was possible, for the others' sake."""
        try:
            self._queue_mail(group, now)
        except sqlite3.Error:
            raise
        except Exception:
            self.unmailable.add(group.fingerprint)
            logger.exception("No mail can be made of the reports %s", group.fingerprint)
            return False
        return True

    def _queue_mail(self, group: Group, now: float) -> None:
        with self.queue.transaction():
            report_id, report = self.queue.unmailed(group.fingerprint, 1)[0]
            report = self.queue.told_whole(report)
            last, repeats = report_id, None
            window = self.settings.reports.window
            if group.last_mail is not None and group.first < group.last_mail + window:
                last, count, first, latest = self.queue.span(group.fingerprint)
                ids = self.queue.request_ids(group.fingerprint, last, REQUEST_IDS)
                repeats = mail.Digest(count, first, latest, ids)
            envelope = self._envelope(now, self.queue.first_report(group.fingerprint))
            mail_id = self.queue.add_mail(
                message_id=envelope.message_id,
                kind="digest" if repeats else "report",
                fingerprint=group.fingerprint,
                created=now,
                count=repeats.count if repeats else 1,
                subject=mail.report_subject(
                    report,
                    mail.app_of(report, self.settings.app).label,
                    repeats.count if repeats else None,
                ),
                content=mail.render_report(report, envelope, repeats),
                recipients=self.settings.mail.admins,
            )
            self.queue.assign(mail_id, group.fingerprint, last)

    def _queue_summary(self, held: list[Group], now: float) -> None:
        with self.queue.transaction():
            entries: list[mail.HeldErrors] = []
            up_to: dict[str, int] = {}
            for group in held:
                last, count, first, _ = self.queue.span(group.fingerprint)
                report = self.queue.unmailed(group.fingerprint, 1)[0][1]
                entries.append(mail.HeldErrors(count, first, report))
                up_to[group.fingerprint] = last
            envelope = self._envelope(now, None)
            cap = self.settings.reports.mails_per_hour
            total = sum(entry.count for entry in entries)
            mail_id = self.queue.add_mail(
                message_id=envelope.message_id,
                kind="summary",
                fingerprint=None,
                created=now,
                count=total,
                subject=mail.summary_subject(entries, self.settings.app.label),
                content=mail.render_summary(entries, envelope, cap),
                recipients=self.settings.mail.admins,
            )
            for fingerprint, last in up_to.items():
                self.queue.assign(mail_id, fingerprint, last)

    def _envelope(self, now: float, thread: str | None) -> mail.Envelope:
        sender = self.settings.mail.sender
        message_id = make_msgid(domain=sender.rpartition("@")[2])
        return mail.Envelope(
            sender, self.settings.mail.admins, message_id, thread, now, self.settings.app
        )

    def send(self, now: float) -> None:
        """Send the mails that are due, until it turns out that the server takes none.

        Those that were tried least often come first, so that the ones which never get through do
        not hold up the others.
        """
        for item, verdict in self.pending.settled():
            self.queue.count_unconfirmed(item, -1)
            self._note(item, verdict)
        if self.failures:
            self.queue.wait_in_line()
        in_vain = 0
        with SmtpSession(self.settings.mail, pending=True) as session:
            for item in self.queue.due(now, BACKOFF_MAXIMUM):
                if self.stopping.is_set() or self.pending.is_full:
                    return
                if item.id in self.pending:
                    continue
                self.queue.claim(item)
                if self.queue.count_unconfirmed(item, 0) >= UNCONFIRMED_ATTEMPTS:
                    self.queue.finish(item, "delivered", PROBABLY)
                    continue
                verdict = session.send(item.recipients or self.settings.mail.admins, item.content)
                fate = self._note(item, verdict)
                in_vain = in_vain + 1 if fate is Fate.WAITS else 0
                if fate is Fate.ALL_WAIT or in_vain >= IN_VAIN:
                    self._put_all_off(verdict.words)
                    return
                self.failures = self.failures if in_vain else 0

    def _note(self, item: Mail, verdict: Verdict) -> Fate:
        """Note what became of a mail; return what that means for the others."""
        recipients, fate = verdict.later or item.recipients, verdict.fate
        match fate:
            case Fate.DELIVERED:
                self.queue.finish(item, "delivered", verdict.words or None)
            case Fate.NOBODY if _others_have_it(item):
                self.queue.finish(item, "delivered", verdict.words)
            case Fate.NOBODY:
                # Those who are to get it are asked for anew: ADMINS is what has to be mended.
                self.queue.postpone(item, self.clock(), verdict.words, ())
                return Fate.ALL_WAIT
            case Fate.FAILED if self.queue.has_delivered_since(item):
                self.queue.finish(item, "failed", verdict.words)
            case Fate.UNCONFIRMED:
                fate = self._note_unconfirmed(item, verdict)
            case Fate.FAILED | Fate.WAITS:
                until = self.clock() + backoff(item.tries + 1)
                self.queue.postpone(item, until, verdict.words, recipients)
                fate = Fate.WAITS
        if verdict.words and verdict.fate is not Fate.ALL_WAIT and verdict.pending is None:
            logger.warning("A report was not mailed, or not to all: %s", verdict.words)
        asked = item.recipients or self.settings.mail.admins
        return Fate.DELIVERED if 0 < len(recipients) < len(asked) else fate

    def _note_unconfirmed(self, item: Mail, verdict: Verdict) -> Fate:
        """Note that a mail may have been delivered, or, after three attempts, that it probably is.

        It is noted as soon as the wait for the server's reply begins, because the process may
        end before the reply comes.
        """
        attempts = self.queue.count_unconfirmed(item, 1)
        if verdict.pending is not None:
            until = self.clock() + BACKOFF_MAXIMUM
            self.queue.await_reply(item, until, verdict.words, verdict.again)
            self.pending.add(item.id, item, verdict.pending)
            return Fate.DELIVERED
        again = verdict.again
        if attempts >= UNCONFIRMED_ATTEMPTS:
            self.queue.count_unconfirmed(item, -attempts)
            again = verdict.later
        if again:
            until = self.clock() + backoff(item.tries + 1)
            self.queue.postpone(item, until, verdict.words, again)
        else:
            self.queue.finish(item, "delivered", f"{PROBABLY} {verdict.words}")
        return Fate.WAITS

    def close(self) -> None:
        """Close the connections on which replies are awaited; those mails are sent again."""
        self.pending.close()

    def _put_all_off(self, words: str) -> None:
        self.failures += 1
        wait = backoff(self.failures)
        self.queue.put_off(self.clock() + wait, words)
        logger.warning("No report can be mailed, next try in %.0f s: %s", wait, words)


def _others_have_it(item: Mail) -> bool:
    """Tell whether the mail waits for some of its recipients only."""
    to = message_from_bytes(item.content, policy=policy.default)["To"]
    addressed = {one.addr_spec for one in to.addresses} if to is not None else set()
    return bool(item.recipients) and set(item.recipients) < addressed
