"""The courier: a thread in one of the processes that share a spool, which mails the reports."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time
from contextlib import closing
from contextvars import Context
from dataclasses import replace
from typing import Final

from ..forks import reset_in_child
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
from ..spool.inventory import mail_of_request
from ..spool.mailbox import Mailbox
from ..spool.outbox import Outbox
from ..spool.posts import next_post
from ..spool.recovery import quarantine, recover
from .delivery import NO_AGREEMENT, NO_WEBHOOK, Delivery
from .lease import RENEW_INTERVAL, Lease
from .posting import PostingThread
from .presence import Presence
from .status import delivery_state
from .tasks import Tasks
from .webhook import TIMEOUT, WebhookDelivery

POLL_INTERVAL: Final = 0.2  # seconds between two checks for reports of other processes
PAUSE: Final = 0.1  # seconds between two deliveries, however fast reports come in
ACQUIRE_INTERVAL: Final = 1.0  # seconds between two tries to get the lease
FULL_INTERVAL: Final = 1.0  # seconds between two checks of windows and retries
HUNG_AFTER: Final = 900.0  # seconds in one delivery after which the lease is not renewed
BUSY_TIMEOUT: Final = 5.0  # seconds that the courier waits for other writers
LEAVE_WITHIN: Final = 6.0  # seconds in which the last process of a machine delivers what it holds
EXIT_GRACE: Final = 10.0  # seconds that a failing command stays to deliver its report
DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

logger = logging.getLogger(__name__)


class Courier:
    """Delivers what is in ``outbox`` while this process holds the lease on its folder.

    Making one starts no thread and opens no file. ``users`` has one object for each pipeline.
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
        self.users: set[object] = set()
        self.lease = Lease(outbox.folder)
        self._tasks = Tasks(reports.window)
        self._thread: threading.Thread | None = None
        self._thread_pid = 0  # the process in which the thread runs
        self._report_pid = 0  # the process that last recorded a report
        self._make_locks()
        reset_in_child(self, Courier._make_locks)

    def ensure_running(self) -> None:
        """Start the thread in this process, once; cheap enough for every request."""
        if self._thread_pid == os.getpid():
            return
        with self._starting:
            if self._thread_pid != os.getpid():
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                Context().run(self._thread.start)  # in no context: it belongs to no request
                self._thread_pid = os.getpid()

    def wake(self) -> None:
        """Tell the thread, if it runs in this process, that there is a new report."""
        self._wake.set()
        self._report_pid = os.getpid()

    def state(self) -> dict[str, str]:
        """Return the state of ``mail`` and ``spool`` for a health check, "ok" if all is well.

        The state of the webhook is included if there is one.
        """
        return delivery_state(self.outbox, self.mail, self.webhook)

    def mail_of(self, request_id: str) -> bytes | None:
        """Return the newest mail about a request, or ``None`` if there is none."""
        try:
            return mail_of_request(self.outbox.path, request_id)
        except sqlite3.Error:
            return None

    def deliver_before_exit(self, timeout: float = EXIT_GRACE) -> None:
        """Deliver, within ``timeout`` seconds, what this process has reported, if no other does.

        It is for processes without the thread: a command, a migration, a server that does not
        start. If another process holds the lease, that one delivers.
        """
        if self._report_pid != os.getpid() or self._thread_pid == os.getpid():
            return
        self.outbox.flush()
        if self.lease.acquire():
            self._deliver_until(time.monotonic() + timeout)

    def _deliver_until(self, deadline: float, *, is_leaving: bool = False) -> None:
        """Deliver until nothing is due, with the lease, which is then released."""
        try:
            with (
                closing(self._open()) as mailbox,
                closing(self._delivery(mailbox)) as delivery,
            ):
                if is_leaving:
                    delivery.leave()
                webhook = WebhookDelivery(mailbox, self.webhook, delivery.stopping)
                while (remaining := deadline - time.monotonic()) > 0:
                    delivery.mail = replace(self.mail, timeout=min(self.mail.timeout, remaining))
                    delivery.run(time.time())
                    webhook.run(time.time(), min(TIMEOUT, max(0.1, deadline - time.monotonic())))
                    left = deadline - time.monotonic()
                    due = self._next_try(mailbox)
                    is_holding = is_leaving and delivery.is_holding()
                    if not len(delivery.pending) and not is_holding and due > time.time() + left:
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
        """Stop the thread, and wait up to ``timeout`` seconds for it to finish its current mail.

        With COURIERS_AGREE, wait :data:`LEAVE_WITHIN` longer: the last courier of a machine then
        delivers what it holds.
        """
        if self._thread_pid != os.getpid() or self._thread is None:
            return
        self._stopping.set()
        self._wake.set()
        if self._thread is threading.current_thread():  # the garbage collector may run in it
            return
        self._thread.join(timeout + (LEAVE_WITHIN if self.agreement.url else 0.0))

    def _run(self) -> None:
        trouble = ""
        presence = Presence(self.outbox.folder)
        if self.agreement.url:
            presence.enter()
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
        if presence.leave():
            self._leave()

    def _leave(self) -> None:
        """Deliver, as the last process of a machine, what would wait for the end of a window."""
        deadline = time.monotonic() + LEAVE_WITHIN
        try:
            while not self.lease.acquire():  # the last holder is releasing it
                if time.monotonic() > deadline:
                    return
                time.sleep(POLL_INTERVAL)
            self._deliver_until(deadline, is_leaving=True)
        except Exception:
            logger.warning("Not everything could be delivered before the end", exc_info=True)

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

    def _make_locks(self) -> None:
        self._starting = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
