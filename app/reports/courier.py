"""The courier: one thread, in one process of all that share the spool, that mails the reports."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import make_msgid
from typing import Final

from ..config import Settings
from ..records import UNREPORTED
from . import mail, room, smtp
from .outbox import Outbox
from .queue import Group, Mail, Queue
from .salvage import salvage
from .smtp import Fate, Verdict
from .spool import STUCK, identity, waiting_since

POLL: Final = 0.2  # seconds between two looks for reports of other processes
TAKEOVER: Final = 1.0  # seconds between two tries to become the one that delivers
FULL_LOOK: Final = 1.0  # seconds between two looks at windows and retries
REST: Final = 0.1  # seconds between two rounds, however fast reports come in
BACKOFF_MAXIMUM: Final = 300.0  # seconds
REQUEST_IDS: Final = 20  # in a digest
IN_VAIN: Final = 2  # mails in a row that a server does not take for now: then it counts as down
EXIT_GRACE: Final = 10.0  # seconds that a failing command stays to deliver its report
PURGE_INTERVAL: Final = 3600.0  # seconds
UNREADABLE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

logger = logging.getLogger(__name__)


def backoff(tries: int) -> float:
    """Return how long to wait, in seconds, after the ``tries``-th failure in a row.

    Doubles from a second to five minutes; the jitter keeps several stacks from knocking on
    a mail server that comes back all at once.
    """
    limit = min(BACKOFF_MAXIMUM, 2.0 ** min(tries - 1, 16))
    return limit * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


class Rarely:
    """Lets something be said once in so many seconds, however often rounds fail and begin anew."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def may(self, what: Callable[[float], None], now: float, seconds: float) -> bool:
        """Tell whether it may be said at the time ``now``, and note that it is."""
        name = what.__name__
        if name in self._last and 0 <= now - self._last[name] < seconds:
            return False
        self._last[name] = now
        return True


class Courier:
    """Delivers what is in the outbox while this process holds ``courier.lock``."""

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.settings = settings
        self.outbox = outbox
        self.lock_path = outbox.folder / "courier.lock"
        self._held = (0, 0)  # the lock's device and inode
        self._rarely = Rarely()
        self._thread: threading.Thread | None = None
        self._pid = 0  # of the process in which the thread runs
        self._woken = 0  # the process that last put a report
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def ensure_running(self) -> None:
        """Start the thread in this process, once; cheap enough for every request."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid == os.getpid():
                return
            self._wake, self._stopping = threading.Event(), threading.Event()
            self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
            self._thread.start()
            self._pid = os.getpid()

    def wake(self) -> None:
        """Tell the thread, where it runs in this process, that there is a new report."""
        self._wake.set()
        self._woken = os.getpid()

    def state(self) -> dict[str, str]:
        """Return what is to be said of mail and spool where no mail is needed to say it."""
        held = len(self.outbox.backlog)
        return {
            "mail": "off" if self.settings.mail_server is None else self._mail_state(),
            "spool": f"cannot be written, {held} reports are in memory only" if held else "ok",
        }

    def _mail_state(self) -> str:
        path = self.outbox.path
        if not path.exists():
            return "ok"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", timeout=0.05, uri=True)) as spool:
                made = spool.execute("PRAGMA user_version").fetchone() != (0,)
                since = waiting_since(spool) if made else None
        except sqlite3.Error as error:
            return f"unknown, the spool cannot be read: {error}"
        if since is None or time.time() - since < STUCK:
            return "ok"
        return f"stuck since {datetime.fromtimestamp(since, UTC).isoformat(timespec='seconds')}"

    def deliver_before_exit(self, timeout: float = EXIT_GRACE) -> None:
        """Deliver, within ``timeout`` seconds, what a process reported that has no thread for it.

        A command, a migration or a master that fails to start: nobody else may be there to
        deliver. Where another process delivers, its courier is left to do so.
        """
        if self._woken != os.getpid() or self._pid == os.getpid():
            return
        deadline = time.monotonic() + timeout
        self.outbox.flush()
        with self._lock() as held:
            if not held:
                return
            with closing(Queue(self.outbox)) as queue:
                round_ = Round(self.settings, queue, self._stopping)
                while (remaining := deadline - time.monotonic()) > 0:
                    patience = min(self.settings.mail_timeout, remaining)
                    round_.settings = replace(self.settings, mail_timeout=patience)
                    round_.run(time.time())
                    if queue.next_try() is None:
                        return
                    time.sleep(POLL)

    def stop(self, timeout: float) -> None:
        """Let the thread finish the mail it is at, for at most ``timeout`` seconds."""
        if self._pid != os.getpid() or self._thread is None:
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        trouble = ""
        while not self._stopping.is_set():
            try:
                self.outbox.flush()
                with self._lock() as held:
                    if held:
                        self._deliver_until_stopped()
                trouble = ""
            except Exception as error:
                # Whatever it is, the thread goes on: there is nobody else to deliver. The same
                # trouble is told once, not every second.
                if str(error) != trouble:
                    trouble = str(error)
                    logger.warning(
                        "The spool %s cannot be delivered", self.outbox.folder, exc_info=True
                    )
            self._stopping.wait(TAKEOVER)
        self.outbox.flush()

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Try to become the one that delivers, for as long as the block runs."""
        self.outbox.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.lock_path, flags, 0o640)
        try:
            yield self._is_locked(descriptor)
        finally:
            os.close(descriptor)

    def _is_locked(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        status = os.fstat(descriptor)
        self._held = (status.st_dev, status.st_ino)
        return self._holds_lock()

    def _holds_lock(self) -> bool:
        """Tell whether the file that is locked is the one that others would lock."""
        return self._held == identity(self.lock_path)

    def _deliver_until_stopped(self) -> None:
        try:
            with closing(Queue(self.outbox)) as queue:
                self._make_rounds(queue)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNREADABLE:
                raise
            broken = self.outbox.set_aside()
            with closing(Queue(self.outbox)) as queue:
                saved = salvage(broken, queue)
            logger.error(
                "The spool's database is broken (%s) and a new one is made, with the %d reports "
                "of the old one that nobody was told of and that can still be read; it is kept "
                "as %s",
                error,
                saved,
                broken,
            )

    def _make_rounds(self, queue: Queue) -> None:
        round_ = Round(self.settings, queue, self._stopping, rarely=self._rarely)
        seen, looked = -1, 0.0
        while not self._stopping.is_set() and queue.is_current() and self._holds_lock():
            now = time.time()
            version = queue.version()
            full_look = not 0 <= now - looked < FULL_LOOK
            if full_look:
                looked = now
                self.outbox.flush()
                queue.checkpoint()
            if self._wake.is_set() or version != seen or full_look:
                self._wake.clear()
                seen = version
                round_.run(now)
            self._stopping.wait(REST)
            self._wake.wait(POLL - REST)


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
        self.purged = 0.0
        self.rarely = rarely or Rarely()
        self.unmailable: set[str] = set()  # fingerprints

    def run(self, now: float) -> None:
        """Make one round at the time ``now``, in seconds since the epoch."""
        self.queue.take_incoming()
        if self.settings.mail_server:
            self.plan(now)
            self.send(now)
            self.tell_stuck(now)
        room.make_room(self.queue, now - max(self.settings.report_window, 3600))
        self.tell_dropped(now)
        if not 0 <= now - self.purged < PURGE_INTERVAL:
            self.purged = now
            self.queue.purge(now - self.settings.report_keep_days * 86_400)

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
        """Report, once a window, how many errors had to make room for others."""
        count = room.dropped(self.queue)
        window = self.settings.report_window
        if not count or not self.rarely.may(self.tell_dropped, now, window):
            return
        logger.error(
            "%d errors are in the log only: the spool was full, and they had to make room. Raise "
            "SPOOL_MAX_BYTES=%d, or see with `flask reports list` why so much waits",
            count,
            self.settings.spool_max_bytes,
        )
        room.told(self.queue, count)

    def plan(self, now: float) -> None:
        """Make mails of the reports that have none, but for those that are only counted yet.

        The first error of its kind is mailed at once. Its repeats are counted until the window
        after that mail is over and then told in one digest. Where the hourly cap is reached,
        the others are held and told in one summary a window.
        """
        window = self.settings.report_window
        room = self.settings.report_mails_per_hour - self.queue.mails_since(now - 3600)
        may_sum_up = not 0 <= now - self.queue.last_summary() < window
        if room <= 0 and not may_sum_up:
            return
        held: list[Group] = []
        for group in self.queue.groups():
            if group.last_mail is not None and group.last_mail <= now < group.last_mail + window:
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
            if report.like:
                report = self.queue.told_whole(report)
            last, repeats = report_id, None
            window = self.settings.report_window
            if group.last_mail is not None and group.first < group.last_mail + window:
                last, count, first, latest = self.queue.span(group.fingerprint)
                ids = self.queue.request_ids(group.fingerprint, last, REQUEST_IDS)
                repeats = mail.Repeats(count, first, latest, ids)
            envelope = self._envelope(now, self.queue.first_report(group.fingerprint))
            mail_id = self.queue.add_mail(
                message_id=envelope.message_id,
                kind="digest" if repeats else "report",
                fingerprint=group.fingerprint,
                created=now,
                count=repeats.count if repeats else 1,
                subject=mail.report_subject(report, repeats),
                content=mail.render_report(report, envelope, repeats),
                recipients=self.settings.admins,
            )
            self.queue.assign(mail_id, group.fingerprint, last)

    def _queue_summary(self, held: list[Group], now: float) -> None:
        with self.queue.transaction():
            entries: list[mail.Held] = []
            up_to: dict[str, int] = {}
            for group in held:
                last, count, first, _ = self.queue.span(group.fingerprint)
                report = self.queue.unmailed(group.fingerprint, 1)[0][1]
                entries.append(mail.Held(count, first, report))
                up_to[group.fingerprint] = last
            envelope = self._envelope(now, None)
            cap = self.settings.report_mails_per_hour
            total = sum(entry.count for entry in entries)
            mail_id = self.queue.add_mail(
                message_id=envelope.message_id,
                kind="summary",
                fingerprint=None,
                created=now,
                count=total,
                subject=f"{mail.PREFIX} {total} more errors",
                content=mail.render_summary(entries, envelope, cap),
                recipients=self.settings.admins,
            )
            for fingerprint, last in up_to.items():
                self.queue.assign(mail_id, fingerprint, last)

    def _envelope(self, now: float, thread: str | None) -> mail.Envelope:
        sender = self.settings.mail_from
        message_id = make_msgid(domain=sender.rpartition("@")[2])
        return mail.Envelope(sender, self.settings.admins, message_id, thread, now)

    def send(self, now: float) -> None:
        """Send the mails that are due, until it turns out that the server takes none.

        Those that were tried least often come first, so that the ones which never get through do
        not hold up the others.
        """
        if self.failures:
            self.queue.wait_in_line()
        in_vain = 0
        with smtp.Line(self.settings) as line:
            for item in self.queue.due(now, BACKOFF_MAXIMUM):
                if self.stopping.is_set():
                    return
                verdict = line.send(item.recipients, item.content)
                fate = self._note(item, verdict)
                in_vain = in_vain + 1 if fate in (Fate.WAITS, Fate.BROKEN_OFF) else 0
                if fate is Fate.ALL_WAIT or in_vain >= IN_VAIN:
                    self._put_all_off(verdict.words)
                    return
                self.failures = self.failures if in_vain else 0

    def _note(self, item: Mail, verdict: Verdict) -> Fate:
        """Note what became of a mail; return what that means for the others."""
        recipients = verdict.later or item.recipients
        match verdict.fate:
            case Fate.DELIVERED:
                self.queue.finish(item, "delivered", verdict.words or None)
            case Fate.NOBODY if _others_have_it(item):
                self.queue.finish(item, "delivered", verdict.words)
            case Fate.NOBODY:
                # Those who are to get it are asked for anew: ADMINS is what has to be mended.
                self.queue.postpone(item, self.clock(), verdict.words, self.settings.admins)
                return Fate.ALL_WAIT
            case Fate.FAILED:
                self.queue.finish(item, "failed", verdict.words)
            case Fate.WAITS | Fate.BROKEN_OFF:
                until = self.clock() + backoff(item.tries + 1)
                self.queue.postpone(item, until, verdict.words, recipients)
        if verdict.words and verdict.fate is not Fate.ALL_WAIT:
            logger.warning("A report was not mailed, or not to all: %s", verdict.words)
        return Fate.DELIVERED if len(recipients) < len(item.recipients) else verdict.fate

    def _put_all_off(self, words: str) -> None:
        self.failures += 1
        wait = backoff(self.failures)
        self.queue.put_off(self.clock() + wait, words)
        logger.warning("No report can be mailed, next try in %.0f s: %s", wait, words)


def _others_have_it(item: Mail) -> bool:
    """Tell whether the mail waits for some of its recipients only."""
    addressed = message_from_bytes(item.content, policy=policy.default)["To"].addresses
    return set(item.recipients) < {address.addr_spec for address in addressed}
