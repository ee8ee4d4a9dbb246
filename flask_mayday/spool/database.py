"""The spool's database: reports and mails in one SQLite file in ``SPOOL_DIR``.

Schema, version 2 (``PRAGMA user_version``); later versions only add, for old and new
containers share the file while they are replaced:

``reports``  one row an error: ``uuid`` (unique, so that a report that arrives twice is kept
             once), ``time``, ``fingerprint``, ``request_id``, ``body`` (the report as JSON,
             redacted), ``mailable`` (0: recorded while mail was off, never mailed),
             ``mail_id`` (the mail that tells of it, NULL until there is one).
``mails``    one row a mail: ``message_id`` (fixed), ``kind`` (report, digest, summary),
             ``fingerprint`` (NULL for a summary), ``created``, ``count`` (errors it tells of),
             ``subject``, ``content`` (the whole message, frozen), ``recipients`` (JSON: who has
             not got it yet), ``state`` (waiting, delivered, failed), ``tries``, ``next_try``,
             ``finished``, ``error`` (the mail server's last words). Times are in seconds since
             the epoch.
``counters`` since version 2: ``name`` and ``value``; ``dropped`` is how many errors had to make
             room without a mail, and have not been told of yet.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..report.report import Report

VERSION: Final = 2
LOG_KEPT: Final = 1 << 20  # bytes of the -wal that are not given back once it has been larger
STUCK: Final = 3600.0  # seconds for which mail may wait before something is wrong

SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT,
    body TEXT NOT NULL,
    mailable INTEGER NOT NULL DEFAULT 1,
    mail_id INTEGER REFERENCES mails(id)
);
CREATE INDEX IF NOT EXISTS reports_without_mail ON reports(fingerprint, id)
    WHERE mail_id IS NULL AND mailable;
CREATE INDEX IF NOT EXISTS reports_mail_id ON reports(mail_id) WHERE mail_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    fingerprint TEXT,
    created REAL NOT NULL,
    count INTEGER NOT NULL,
    subject TEXT NOT NULL,
    content BLOB NOT NULL,
    recipients TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    tries INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL,
    finished REAL,
    error TEXT
);
CREATE INDEX IF NOT EXISTS mails_due ON mails(next_try) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS mails_created ON mails(created);
CREATE INDEX IF NOT EXISTS mails_fingerprint ON mails(fingerprint, created);
CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
PRAGMA user_version = 2;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A report as the database keeps it."""

    uuid: str
    time: float
    fingerprint: str
    request_id: str | None
    body: str
    mailable: bool


def row_of(report: Report, *, mailable: bool) -> Row:
    """Return the row of a report."""
    return Row(
        report.uuid,
        report.time,
        report.fingerprint,
        report.request_id,
        report.to_json(),
        mailable,
    )


def opened(path: Path, timeout: float) -> tuple[sqlite3.Connection, tuple[int, int]]:
    """Open the spool's database, make it where it is missing, and tell which file it is.

    ``timeout`` is how long, in seconds, a statement waits for other writers. Raises
    :exc:`sqlite3.Error` or :exc:`OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(4):
        with folder_lock(path.parent, fcntl.LOCK_SH | fcntl.LOCK_NB):
            before = identity(path)
            connection = _connect(path, timeout)
            which = identity(path)
        if before in (which, (0, 0)):
            return connection, which
        close(connection, path, before)  # somebody has deleted it just now
    raise FileNotFoundError(f"{path} goes away as soon as it is made")


def close(connection: sqlite3.Connection, path: Path, which: tuple[int, int]) -> None:
    """Close a database that :func:`opened` has opened; leave one open that was replaced since.

    SQLite deletes the log with the last connection, by its name: that of the database which is
    in its place now. https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
    """
    with suppress(OSError), folder_lock(path.parent, fcntl.LOCK_SH | fcntl.LOCK_NB):
        if identity(path) == which:
            connection.close()
            return
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # not even at the process's end


@contextmanager
def folder_lock(folder: Path, how: int) -> Iterator[None]:
    """Hold the folder's lock, as :func:`fcntl.flock` says: shared to open, exclusive to move.

    Between two renames of a database and its log nobody may open the one without the other.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has it open too
    finally:
        os.close(descriptor)


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    """Open the spool's database as :func:`opened` does, without a look at which file it is."""
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = readable
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def waiting_since(connection: sqlite3.Connection) -> float | None:
    """Return when the mail that has waited longest was queued; None where none waits."""
    row = connection.execute("SELECT min(created) FROM mails WHERE state = 'waiting'").fetchone()
    return None if row[0] is None else float(row[0])


def report_of(body: str, uuid: str, moment: float, fingerprint: str, request_id: str) -> Report:
    """Return a report of the database; what else is known of it where its body is broken."""
    try:
        return Report.from_json(body)
    except ValueError:
        message = "What happened cannot be read any more: the spool's database is broken here"
        known = {"uuid": uuid, "time": moment, "fingerprint": fingerprint, "message": message}
        return Report.from_json(json.dumps({**known, "request_id": request_id}))


def told_whole(connection: sqlite3.Connection, report: Report) -> Report:
    """Return a report with the traceback of the one that it refers to, if that is there."""
    row = connection.execute("SELECT body FROM reports WHERE uuid = ?", (report.like,)).fetchone()
    try:
        other = report if row is None else Report.from_json(row[0])
    except ValueError:
        return report
    return report.with_traceback_of(other)


def readable(text: bytes) -> str:
    """Return a text of the database, which may hold a broken byte."""
    return text.decode("utf-8", "replace")


def purge(connection: sqlite3.Connection, before: float, recent: float) -> int:
    """Delete what was delivered, or recorded while mail was off, before that time.

    Mails made since ``recent`` keep their rows, without the text: the hourly cap and the windows
    are derived from them. Both are in seconds since the epoch. Return how many reports are gone.
    """
    deleted = connection.execute(
        "DELETE FROM reports WHERE time < ? AND (NOT mailable OR mail_id IN"
        " (SELECT id FROM mails WHERE state = 'delivered'))",
        (before,),
    ).rowcount
    connection.execute(
        "DELETE FROM mails WHERE created < ? AND state = 'delivered'"
        " AND NOT EXISTS (SELECT 1 FROM reports WHERE mail_id = mails.id)",
        (min(before, recent),),
    )
    connection.execute(
        "UPDATE mails SET content = '' WHERE created < ? AND state = 'delivered'", (before,)
    )
    return deleted


def insert(connection: sqlite3.Connection, row: Row) -> None:
    """Insert a report; one that is there already is left as it is."""
    connection.execute(
        "INSERT OR IGNORE INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (row.uuid, row.time, row.fingerprint, row.request_id, row.body, row.mailable),
    )


def identity(path: str | Path) -> tuple[int, int]:
    """Return what tells a file from another of its name, or from none: device and inode."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
