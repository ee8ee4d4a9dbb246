"""The courier: one thread, in one process of all that share the spool, that mails the reports."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from ..settings import Settings
from ..spool.database import STUCK, identity, waiting_since
from ..spool.mailbox import Queue
from ..spool.outbox import Outbox
from ..spool.recovery import salvage, set_aside
from .delivery import Rarely, Round

POLL: Final = 0.2  # seconds between two looks for reports of other processes
TAKEOVER: Final = 1.0  # seconds between two tries to become the one that delivers
FULL_LOOK: Final = 1.0  # seconds between two looks at windows and retries
REST: Final = 0.1  # seconds between two rounds, however fast reports come in
EXIT_GRACE: Final = 10.0  # seconds that a failing command stays to deliver its report
UNREADABLE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

logger = logging.getLogger(__name__)


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
            "mail": "off" if self.settings.mail.server is None else self._mail_state(),
            "spool": f"cannot be written, {held} reports are in memory only" if held else "ok",
        }

    def _mail_state(self) -> str:
        path = self.outbox.path
        if not path.exists():
            return "ok"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", timeout=0.5, uri=True)) as spool:
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
            with (
                closing(Queue(self.outbox)) as queue,
                closing(Round(self.settings, queue, self._stopping)) as round_,
            ):
                while (remaining := deadline - time.monotonic()) > 0:
                    patience = min(self.settings.mail.timeout, remaining)
                    round_.settings = replace(
                        self.settings, mail=replace(self.settings.mail, timeout=patience)
                    )
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
                round_ = Round(self.settings, queue, self._stopping, rarely=self._rarely)
                with closing(round_):
                    self._make_rounds(round_, queue)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNREADABLE:
                raise
            logger.warning("The spool's database is broken: %s", error)
            set_aside(self.outbox.path)
            with closing(Queue(self.outbox)) as queue:
                salvage(queue)

    def _make_rounds(self, round_: Round, queue: Queue) -> None:
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
