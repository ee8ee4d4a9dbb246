"""The outbox: keeps every report durably, from the moment of ``put``, and makes nobody wait.

Producers, in any number of processes and containers on the volume, only put reports. One
consumer, the courier that holds ``courier.lock``, turns reports into mails and mails them. A
report goes into the database; where that is locked or broken, and in a flood, into ``incoming/``,
which the courier takes in; where the disk takes nothing into memory, until it does.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import Final

from ..report.report import Report
from .database import Row, close, identity, insert, opened, row_of
from .memory import Backlog
from .overflow import Incoming

PUT_TIMEOUT: Final = 0.05  # seconds that a visitor's request may wait for the database
# Seconds for which a database that was locked is left alone: one request waits, not each.
LEFT_ALONE: Final = 1.0
# How much of what the spool may take is for the files of incoming/, and for the database's log
# (its -wal); the rest is for the database itself.
INCOMING_SHARE: Final = 0.25
LOG_SHARE: Final = 0.25
DATABASE_SHARE: Final = 1 - INCOMING_SHARE - LOG_SHARE

logger = logging.getLogger(__name__)


class NotDurableError(Exception):
    """A report that the disk would not take: memory holds it until it does."""


class _LockedError(Exception):
    """The database is locked, or was a moment ago."""


class Outbox:
    """The spool folder: ``reports.db``, and ``incoming/`` for what the database cannot take.

    ``max_bytes`` is what all of it may grow to.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.path = folder / "reports.db"
        self.incoming = Incoming(folder / "incoming", int(max_bytes * INCOMING_SHARE))
        self.backlog = Backlog()
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._locked_until = 0.0  # on the monotonic clock
        self._lock = threading.Lock()
        _outboxes.add(self)

    def put(self, report: Report, *, mailable: bool) -> str | None:
        """Keep ``report``, within about 100 ms; return why not in the database, if it is not.

        Raises :exc:`NotDurableError` where only memory could take it: :meth:`flush` tries again.
        """
        row = row_of(report, mailable=mailable)
        if report.like and self._append(row):
            return None
        try:
            trouble = self._keep(row)
        except (sqlite3.Error, OSError) as error:
            self.backlog.add(row)
            raise NotDurableError(_reason(error)) from error
        if len(self.backlog):
            self._flush_one()  # in a process without a courier nobody else would
        return trouble

    def flush(self) -> None:
        """Try to write what only memory holds; tell how much of it there was no room for."""
        while self._flush_one():
            pass
        if len(self.backlog):
            return
        if lost := self.backlog.take_lost():
            logger.error(
                "%d errors are in the log only: the spool %s could not be written, and there was "
                "no more room for them in memory",
                lost,
                self.folder,
            )

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._close()
        with self.incoming.lock:
            self.incoming.close()

    def _append(self, row: Row) -> bool:
        try:
            self.incoming.append(row)
        except OSError:
            return False
        return True

    def _flush_one(self) -> bool:
        row = self.backlog.first()
        if row is None:
            return False
        try:
            self._keep(row)
        except (sqlite3.Error, OSError):
            return False
        self.backlog.written(row)
        return True

    def _keep(self, row: Row) -> str | None:
        """Write a report to the disk; return why not to the database, if that is so.

        Raises :exc:`OSError` or :exc:`sqlite3.Error`.
        """
        try:
            self._put_into_database(row)
        except (sqlite3.Error, OSError, _LockedError) as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise  # the disk, or what the spool may take, is full: for a file too
            self.incoming.write(row)
            return _reason(error)
        return None

    def _put_into_database(self, row: Row) -> None:
        if time.monotonic() < self._locked_until or not self._lock.acquire(timeout=PUT_TIMEOUT):
            raise _LockedError("its database is locked")
        try:
            self._insert(row)
        except (sqlite3.Error, OSError) as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                self._locked_until = time.monotonic() + LEFT_ALONE
                raise _LockedError("its database is locked") from error
            self._close()
            raise
        finally:
            self._lock.release()

    def _insert(self, row: Row) -> None:
        """Insert a report into the file that is there.

        Writes to a database that was deleted or moved succeed silently: so the look comes after
        the insert, and a report that went into another file is inserted again.
        """
        for _ in range(3):
            if self._connection is None:
                self._connection, self._identity = self._opened()
            insert(self._connection, row)
            if self._identity == identity(self.path):
                return
            self._close()
        raise FileNotFoundError(f"{self.path} goes away as soon as it is made")

    def _opened(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        connection, which = opened(self.path, PUT_TIMEOUT)
        pages = self.max_bytes // int(connection.execute("PRAGMA page_size").fetchone()[0])
        connection.execute(f"PRAGMA max_page_count = {int(pages * DATABASE_SHARE)}")
        # The courier brings the log into the database, long before: a visitor's request would
        # wait for the disk.
        connection.execute(f"PRAGMA wal_autocheckpoint = {int(pages * LOG_SHARE)}")
        return connection, which

    def _close(self) -> None:
        if self._connection is not None:
            close(self._connection, self.path, self._identity)
            self._connection = None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _LockedError) else f"{type(error).__name__}: {error}"


def _code(error: Exception) -> int:
    """Return SQLite's primary result code, 0 for what is no error of SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


# A connection must not be carried through a fork, and closing it in the child would drop the
# parent's locks: so a process has none open while it forks.
# https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
_outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()
_forking = threading.local()  # several threads may fork at once, each with its own list


def _pause_for_fork() -> None:
    _forking.paused = sorted(_outboxes, key=id)  # all threads in one order
    for outbox in _forking.paused:
        outbox._lock.acquire()
        outbox._close()
        outbox.incoming.lock.acquire()
        outbox.incoming.close()
        outbox.backlog.lock.acquire()


def _go_on_after_fork() -> None:
    for outbox in _forking.paused:
        outbox.backlog.lock.release()
        outbox.incoming.lock.release()
        outbox._lock.release()
    _forking.paused = []


def _go_on_in_child() -> None:
    for outbox in _forking.paused:
        outbox.backlog.forget_lost()
    _go_on_after_fork()


os.register_at_fork(
    before=_pause_for_fork, after_in_parent=_go_on_after_fork, after_in_child=_go_on_in_child
)
