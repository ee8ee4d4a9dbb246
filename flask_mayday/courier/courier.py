"""The courier: a thread in one of the processes that share a spool, which mails the reports."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time
import weakref
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from ..report.wording import counted
from ..settings import (
    AgreementSettings,
    AppSettings,
    MailSettings,
    ReportSettings,
    WebhookSettings,
)
from ..spool.database import LeaseLostError
from ..spool.groups import note_release
from ..spool.handovers import Handovers
from ..spool.inventory import STUCK, mail_of_request, mail_state, webhook_state
from ..spool.mailbox import Mailbox
from ..spool.outbox import Outbox
from ..spool.posts import next_post
from ..spool.recovery import quarantine, recover
from .delivery import NO_AGREEMENT, NO_WEBHOOK, Delivery, Tasks
from .lease import RENEW_INTERVAL, Lease, expired_since
from .posting import PostingThread
from .webhook import TIMEOUT, WebhookDelivery

POLL_INTERVAL: Final = 0.2  # seconds between two looks for reports of other processes
PAUSE: Final = 0.1  # seconds between two deliveries, however fast reports come in
ACQUIRE_INTERVAL: Final = 1.0  # seconds between two tries to get the lease
FULL_INTERVAL: Final = 1.0  # seconds between two looks at windows and retries
HUNG_AFTER: Final = 900.0  # seconds in one delivery after which the lease is not renewed
BUSY_TIMEOUT: Final = 5.0  # seconds that the courier waits for other writers
EXIT_GRACE: Final = 10.0  # seconds that a failing command stays to deliver its report
DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

logger = logging.getLogger(__name__)


class Courier:
    """Delivers what is in ``outbox`` while this process holds the lease on its folder.

    Making one starts no thread and opens no file.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        mail: MailSettings,
        reports: ReportSettings,
        app: AppSettings,
        webhook: WebhookSettings = NO_WEBHOOK,
        agreement: AgreementSettings = NO_AGREEMENT,
    ) -> None:
        self.outbox = outbox
        self.mail = mail
        self.reports = reports
        self.app = app
        self.webhook = webhook
        self.agreement = agreement
        self.settings = (outbox.max_bytes, mail, reports, app, webhook, agreement)
        self.lease = Lease(outbox.folder)
        self._tasks = Tasks(reports.window)
        self._thread: threading.Thread | None = None
        self._thread_pid = 0  # the process in which the thread runs
        self._report_pid = 0  # the process that last recorded a report
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        _couriers.add(self)

    def ensure_running(self) -> None:
        """Start the thread in this process, once; cheap enough for every request."""
        if self._thread_pid == os.getpid():
            return
        with self._starting:
            if self._thread_pid == os.getpid():
                return
            self._wake, self._stopping = threading.Event(), threading.Event()
            self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
            self._thread.start()
            self._thread_pid = os.getpid()

    def wake(self) -> None:
        """Tell the thread, if it runs in this process, that there is a new report."""
        self._wake.set()
        self._report_pid = os.getpid()

    def state(self) -> dict[str, str]:
        """Return the state of ``mail`` and ``spool`` for a health check, "ok" if all is well.

        The state of the webhook is included if there is one.
        """
        mail, webhook = self._trouble()
        found = {
            "mail": "off" if self.mail.server is None else mail or "ok",
            "spool": self.outbox.trouble() or "ok",
        }
        return found | ({"webhook": webhook or "ok"} if self.webhook.url else {})

    def mail_of(self, request_id: str) -> bytes | None:
        """Return the newest mail about a request, or ``None`` if there is none."""
        try:
            return mail_of_request(self.outbox.path, request_id)
        except sqlite3.Error:
            return None

    def _trouble(self) -> tuple[str, str]:
        """Return what is wrong with mail and with the webhook, each empty if all is well."""
        try:
            expired = expired_since(self.outbox.folder)
            since, refused = mail_state(self.outbox.path)
            posts_since = webhook_state(self.outbox.path)
        except (sqlite3.Error, OSError) as error:
            unknown = f"unknown, the spool cannot be read: {error}"
            return unknown, unknown
        frozen = expired and (
            "not being delivered: the process that sends mail has not responded since "
            f"{_moment(expired)}"
        )
        failed = f"{counted(refused, 'mail')} refused for good" if refused else ""
        return _stuck(since) or frozen or failed, _stuck(posts_since) or frozen or ""

    def deliver_before_exit(self, timeout: float = EXIT_GRACE) -> None:
        """Deliver, within ``timeout`` seconds, what this process has reported, if no other does.

        It is for processes without the thread: a command, a migration, a server that does not
        start. If another process holds the lease, that one delivers.
        """
        if self._report_pid != os.getpid() or self._thread_pid == os.getpid():
            return
        deadline = time.monotonic() + timeout
        self.outbox.flush()
        if not self.lease.acquire():
            return
        try:
            with (
                closing(self._open()) as mailbox,
                closing(self._delivery(mailbox)) as delivery,
            ):
                webhook = WebhookDelivery(mailbox, self.webhook, self._stopping)
                while (remaining := deadline - time.monotonic()) > 0:
                    patience = min(self.mail.timeout, remaining)
                    delivery.mail = replace(self.mail, timeout=patience)
                    delivery.run(time.time())
                    webhook.run(time.time(), min(TIMEOUT, max(0.1, deadline - time.monotonic())))
                    left = deadline - time.monotonic()
                    due = self._next_try(mailbox)
                    if not len(delivery.pending) and due > time.time() + left:
                        return
                    time.sleep(POLL_INTERVAL)
        finally:
            self.lease.release()

    def _next_try(self, mailbox: Mailbox) -> float:
        """Return when something is to be sent next, on a channel that is set."""
        tries = (
            mailbox.next_try() if self.mail.server else None,
            next_post(mailbox) if self.webhook.url else None,
        )
        return min((one for one in tries if one is not None), default=math.inf)

    def stop(self, timeout: float) -> None:
        """Let the thread finish the mail that it is sending, for at most ``timeout`` seconds."""
        if self._thread_pid != os.getpid() or self._thread is None:
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        trouble = ""
        while not self._stopping.is_set():
            try:
                self.outbox.flush()
                if self.lease.acquire():
                    self._deliver_with_lease()
                trouble = ""
            except LeaseLostError as error:
                logger.warning("%s: this process was suspended or too slow", error)
            except Exception as error:
                # The thread must not end: nothing else delivers. The same trouble is logged once.
                if str(error) != trouble:
                    trouble = str(error)
                    logger.warning("Cannot deliver from %s", self.outbox.folder, exc_info=True)
            finally:
                self.lease.release()
            self._stopping.wait(ACQUIRE_INTERVAL)
        self.outbox.flush()

    def _deliver_with_lease(self) -> None:
        released = threading.Event()
        self._tasks.progress = time.monotonic()
        renewing = threading.Thread(target=self._renew, args=(released,), daemon=True)
        renewing.start()
        try:
            with (
                closing(self._open()) as mailbox,
                closing(self._delivery(mailbox)) as delivery,
            ):
                posting = PostingThread(self.outbox.path, mailbox.epoch, self.webhook)
                posting.start()
                try:
                    self._deliver_until_stopped(mailbox, delivery)
                finally:
                    posting.stop()
        except sqlite3.DatabaseError as error:
            if not self._must_replace(error):
                raise
            logger.warning("The spool's database cannot be used and is replaced: %s", error)
            quarantine(self.outbox.path)
            with closing(self._open()) as mailbox:
                recover(mailbox)
        finally:
            released.set()
            renewing.join()

    def _must_replace(self, error: sqlite3.DatabaseError) -> bool:
        """Return whether the database is damaged, or locked by a frozen courier."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in DAMAGED or (code == sqlite3.SQLITE_BUSY and self.lease.was_expired)

    def _renew(self, released: threading.Event) -> None:
        while not released.wait(RENEW_INTERVAL):
            if time.monotonic() - self._tasks.progress < HUNG_AFTER:
                self.lease.renew()

    def _open(self) -> Mailbox:
        mailbox = Mailbox(self.outbox, BUSY_TIMEOUT)
        try:
            mailbox.take_over()
            note_release(mailbox, self.app.release, time.time())
            if not self.agreement.url:
                with mailbox.transaction():
                    Handovers(mailbox).forget()
        except BaseException:
            mailbox.close()
            raise
        return mailbox

    def _delivery(self, mailbox: Mailbox) -> Delivery:
        return Delivery(
            mailbox,
            mail=self.mail,
            reports=self.reports,
            app=self.app,
            webhook=self.webhook,
            agreement=self.agreement,
            stopping=self._stopping,
            tasks=self._tasks,
        )

    def _deliver_until_stopped(self, mailbox: Mailbox, delivery: Delivery) -> None:
        seen, looked = -1, 0.0
        while not self._stopping.is_set() and mailbox.is_current() and self.lease.is_held():
            now = time.time()
            changes = mailbox.change_number()
            is_full = not 0 <= now - looked < FULL_INTERVAL
            if is_full:
                looked = now
                self.outbox.flush()
            if self._wake.is_set() or changes != seen or is_full or self.outbox.incoming.waiting():
                self._wake.clear()
                seen = changes
                delivery.run(now)
            self._stopping.wait(PAUSE)
            self._wake.wait(POLL_INTERVAL - PAUSE)


def _stuck(since: float | None) -> str:
    is_long = since is not None and time.time() - since >= STUCK
    return f"stuck since {_moment(since)}" if since is not None and is_long else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()


def _reset_in_child() -> None:
    for courier in list(_couriers):
        courier._starting = threading.Lock()  # another thread may have held it during the fork


os.register_at_fork(after_in_child=_reset_in_child)
