"""The spool's database: opens the SQLite file, guards its transactions, keeps its counters."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ..report.report import Report
from . import schema
from .ownership import make_folder, open_file

LOCK_TIMEOUT: Final = 5.0  # seconds that a statement waits for other writers
WAL_KEPT: Final = 1 << 20  # bytes to which the -wal file shrinks after it was larger
ROWS_AT_ONCE: Final = 40  # that one statement inserts
NO_FILE: Final = (0, 0)  # the identity of a file that does not exist

# A mail began to wait when it was made, or when it was sent again by hand.
WAITING_SINCE: Final = "SELECT min(coalesce(finished, created)) FROM mails WHERE state = 'waiting'"


class LeaseLostError(Exception):
    """Another courier has taken over: this one must not write any more."""


class Database:
    """An open connection to the database at ``path``, which is created if it is missing.

    ``timeout`` is how long a statement waits for other writers, in seconds. Raises
    :exc:`sqlite3.Error` or :exc:`OSError`.
    """

    def __init__(self, path: Path, timeout: float = LOCK_TIMEOUT) -> None:
        self.path = path
        self.epoch: int | None = None
        make_folder(path.parent)
        with folder_lock(path.parent, fcntl.LOCK_SH | fcntl.LOCK_NB):
            before = identity(path)
            if before == NO_FILE and os.geteuid() == 0:
                with suppress(FileExistsError):  # SQLite gives its other files to the same owner
                    os.close(open_file(path, os.O_EXCL, 0o644))
            self.connection = _connect(path, timeout)
            self.identity = identity(path)
        if before not in (self.identity, NO_FILE):
            self.close()
            raise FileNotFoundError(f"{path} was replaced while it was opened")

    def close(self) -> None:
        """Close the connection.

        When the last connection is closed, SQLite deletes the -wal file by its name. If the
        database was replaced, the file of that name belongs to the new one.
        https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
        """
        if not self.is_current():
            if sys.version_info < (3, 12):
                _never_closed.append(self.connection)
                return
            self.connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        self.connection.close()

    def is_current(self) -> bool:
        """Return whether the open file is still the one at its path."""
        return self.identity != NO_FILE and self.identity == identity(self.path)

    def take_over(self) -> None:
        """Claim the database: from now on, the transactions of earlier claimants fail.

        A courier that was frozen and then continues gets :exc:`LeaseLostError`. Connections that
        have never called this method, such as those of commands, can still write.
        """
        with self.transaction():
            (self.epoch,) = self.connection.execute(
                "INSERT INTO counters VALUES ('epoch', 1)"
                " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
            ).fetchone()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements inside as one transaction.

        Raises :exc:`LeaseLostError` if another courier has called :meth:`take_over` since.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            if self.epoch is not None and self.counter("epoch") != self.epoch:
                raise LeaseLostError(f"Another courier has taken over {self.path}")
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.rollback()  # no effect if a full disk has ended the transaction already
            raise

    def counter(self, name: str) -> int:
        """Return the value of a counter, 0 if there is none."""
        row = self.connection.execute(
            "SELECT value FROM counters WHERE name = ?", (name,)
        ).fetchone()
        return int(row[0]) if row else 0

    def add_to_counter(self, name: str, number: int) -> None:
        """Add ``number`` to a counter."""
        self.connection.execute(
            "INSERT INTO counters VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, number),
        )

    def delete_counter(self, name: str) -> None:
        """Set a counter to 0."""
        self.connection.execute("DELETE FROM counters WHERE name = ?", (name,))

    def mark_once(self, name: str) -> bool:
        """Create a counter with the value 0; return whether there was none of that name."""
        cursor = self.connection.execute("INSERT OR IGNORE INTO counters VALUES (?, 0)", (name,))
        return cursor.rowcount == 1

    def with_traceback(self, report: Report, original: str | None = None) -> Report:
        """Return a report with the traceback of the identical one to which it refers, if any.

        ``original`` is the JSON of that one, if it is not in the database.
        """
        if not original and report.like:
            query = "SELECT body FROM reports WHERE uuid = ?"
            (original,) = self.connection.execute(query, (report.like,)).fetchone() or (None,)
        with suppress(ValueError):  # damaged
            if original:
                return report.with_traceback_of(Report.from_json(original))
        return report

    def newest_report(self) -> int:
        """Return the id of the report that was inserted last, 0 if there is none."""
        query = "SELECT coalesce(max(id), 0) FROM reports"
        return int(self.connection.execute(query).fetchone()[0])

    def waiting_since(self) -> float | None:
        """Return when the oldest waiting mail began to wait, or ``None`` if none waits."""
        since: float | None = self.connection.execute(WAITING_SINCE).fetchone()[0]
        return since

    def change_number(self) -> int:
        """Return a number that changes whenever another connection writes."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def used_bytes(self) -> int:
        """Return the size of the pages that are in use."""
        pages, free, size = (
            int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def truncate_wal(self, max_bytes: float) -> None:
        """Copy the -wal file into the database and truncate it, if it is over ``max_bytes``.

        Blocks until readers finish: with constant readers, the file would grow without bound.
        """
        with suppress(FileNotFoundError):
            if os.stat(f"{self.path}-wal").st_size > max_bytes:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_never_closed: list[sqlite3.Connection] = []  # see Database.close


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = lenient_text
    try:
        schema.prepare(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def insert_rows(
    connection: sqlite3.Connection, insert: str, rows: Sequence[Sequence[object]], rest: str = ""
) -> None:
    """Insert rows with one statement for every :data:`ROWS_AT_ONCE` of them.

    ``insert`` is the statement up to ``VALUES``, ``rest`` what follows the values.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        values = ", ".join(f"({', '.join('?' * len(row))})" for row in some)
        connection.execute(f"{insert} VALUES {values} {rest}", [one for row in some for one in row])


def lenient_text(text: bytes) -> str:
    """Return a text of the database, with U+FFFD for bytes that are not UTF-8."""
    return text.decode("utf-8", "replace")


@contextmanager
def folder_lock(folder: Path, operation: int) -> Iterator[None]:
    """Hold the folder's lock, with an operation of :func:`fcntl.flock`.

    It is shared to open the database and exclusive to move it: between the renames of a database
    and of its -wal file, nobody may open one without the other. Raises :exc:`OSError`.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has it open too
    finally:
        os.close(descriptor)


def identity(path: str | Path) -> tuple[int, int]:
    """Return device and inode of a file, which differ from those of a new file of that name."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return NO_FILE
    return (status.st_dev, status.st_ino)
