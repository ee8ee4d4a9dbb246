"""The outbox: reports and mails in one SQLite file, durable from the moment of ``put``.

Producers, in any number of processes and containers on the volume, only insert reports. One
consumer, the courier that holds ``courier.lock``, turns reports into mails and mails them.

Schema, version 1 (``PRAGMA user_version``); later versions only add, for old and new
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
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .report import Report

PUT_TIMEOUT: Final = 0.05  # seconds that a visitor's request may wait for the file
COURIER_TIMEOUT: Final = 5.0  # seconds that the courier may

logger = logging.getLogger(__name__)

SCHEMA: Final = """
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
CREATE INDEX IF NOT EXISTS reports_mail_id ON reports(mail_id);
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
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that waits: ``content`` is the whole message in bytes."""

    id: int
    content: bytes
    recipients: tuple[str, ...]
    tries: int


@dataclass(frozen=True, slots=True)
class Group:
    """Reports of one fingerprint that no mail tells of yet."""

    fingerprint: str
    count: int
    first: float
    last_mail: float | None
    last_message_id: str | None


class Outbox:
    """The spool folder: ``reports.db``, and ``incoming/`` for what the database cannot take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "reports.db"
        self.incoming = folder / "incoming"
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._lock = threading.Lock()
        _outboxes.add(self)

    def put(self, report: Report, *, mailable: bool) -> None:
        """Keep ``report``, within about 100 ms: in the database, else as a file in ``incoming/``.

        Raises :exc:`OSError` where neither can be written.
        """
        if self._lock.acquire(timeout=PUT_TIMEOUT):
            try:
                self._insert(report, mailable)
            except (sqlite3.Error, OSError):
                self._close()
            else:
                return
            finally:
                self._lock.release()
        self._write_incoming(report, mailable)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._close()

    def set_aside(self) -> Path:
        """Move a database that cannot be read out of the way; return where it is now.

        Only for the courier, which holds its lock. The others see by the inode that they have
        to open, or make, another.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.path.name}.corrupt-{moment}")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).rename(f"{aside}{suffix}")
        return aside

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _insert(self, report: Report, mailable: bool) -> None:
        if self._connection is not None and self._inode != _inode(self.path):
            # Writes to a deleted database succeed silently: it must be the file that is there.
            self._close()
        if self._connection is None:
            self._connection = connect(self.path, PUT_TIMEOUT)
            self._inode = _inode(self.path)
        insert(self._connection, report, mailable)

    def _write_incoming(self, report: Report, mailable: bool) -> None:
        """Write the report to a file that appears whole or not at all."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        path = self.incoming / report.uuid
        part = path.with_suffix(".part")
        with part.open("x", encoding="utf-8") as file:
            file.write(json.dumps({"mailable": mailable, "body": report.to_json()}))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)


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


def _go_on_after_fork() -> None:
    for outbox in _forking.paused:
        outbox._lock.release()
    _forking.paused = []


os.register_at_fork(
    before=_pause_for_fork, after_in_parent=_go_on_after_fork, after_in_child=_go_on_after_fork
)


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """Open the spool's database, and make it where it is missing.

    ``timeout`` is how long, in seconds, a statement waits for other writers. Raises
    :exc:`sqlite3.Error` or :exc:`OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < 1:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def insert(connection: sqlite3.Connection, report: Report, mailable: bool) -> None:
    """Insert a report; one that is there already is left as it is."""
    connection.execute(
        "INSERT OR IGNORE INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            report.uuid,
            report.time,
            report.fingerprint,
            report.request_id,
            report.to_json(),
            mailable,
        ),
    )


def _set_file_aside(path: Path, error: Exception) -> None:
    """Keep a file that holds no report out of the way of those that do."""
    aside = path.with_suffix(".unreadable")
    with contextlib.suppress(OSError):
        path.rename(aside)
    logger.error("A report in the spool cannot be read, see %s: %s", aside, error)


class Queue:
    """The courier's side of the outbox: what waits, and what became of it.

    Only the process that holds ``courier.lock`` may use it.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.connection = connect(outbox.path, COURIER_TIMEOUT)
        self.inode = _inode(outbox.path)

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def is_current(self) -> bool:
        """Tell whether the open database is still the file that is in the folder."""
        return self.inode == _inode(self.outbox.path)

    def version(self) -> int:
        """Return a number that changes when another process has written to the database."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements inside one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def take_incoming(self) -> None:
        """Move the reports of ``incoming/`` into the database."""
        if not self.outbox.incoming.is_dir():
            return
        for path in sorted(self.outbox.incoming.iterdir()):
            if path.suffix:
                continue
            try:
                wrapped = json.loads(path.read_text(encoding="utf-8"))
                report, mailable = Report.from_json(wrapped["body"]), bool(wrapped["mailable"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                _set_file_aside(path, error)
                continue
            insert(self.connection, report, mailable)
            path.unlink()

    def groups(self) -> list[Group]:
        """Return the reports without a mail by fingerprint, the oldest first."""
        rows = self.connection.execute(
            "SELECT fingerprint, count(*), min(time), min(id) FROM reports"
            " WHERE mail_id IS NULL AND mailable GROUP BY fingerprint ORDER BY min(id)"
        ).fetchall()
        return [Group(row[0], row[1], row[2], *self._last_mail(row[0])) for row in rows]

    def _last_mail(self, fingerprint: str) -> tuple[float | None, str | None]:
        row = self.connection.execute(
            "SELECT created, message_id FROM mails WHERE fingerprint = ?"
            " ORDER BY created DESC LIMIT 1",
            (fingerprint,),
        ).fetchone()
        return (row[0], row[1]) if row else (None, None)

    def unmailed(self, fingerprint: str, limit: int) -> list[tuple[int, Report]]:
        """Return up to ``limit`` reports of a fingerprint that no mail tells of, oldest first."""
        rows = self.connection.execute(
            "SELECT id, body FROM reports WHERE mail_id IS NULL AND mailable AND fingerprint = ?"
            " ORDER BY id LIMIT ?",
            (fingerprint, limit),
        )
        return [(row[0], Report.from_json(row[1])) for row in rows]

    def request_ids(self, fingerprint: str, up_to: int, limit: int) -> list[str]:
        """Return request ids of reports that no mail tells of, up to report ``up_to``."""
        rows = self.connection.execute(
            "SELECT DISTINCT request_id FROM reports WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ? AND request_id IS NOT NULL ORDER BY id LIMIT ?",
            (fingerprint, up_to, limit),
        )
        return [row[0] for row in rows]

    def span(self, fingerprint: str) -> tuple[int, int, float, float]:
        """Return last id, count, first and last time of a fingerprint's unmailed reports."""
        row: tuple[int, int, float, float] = self.connection.execute(
            "SELECT max(id), count(*), min(time), max(time) FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ?",
            (fingerprint,),
        ).fetchone()
        return row

    def first_report(self, fingerprint: str) -> str | None:
        """Return the Message-ID of the first mail of a fingerprint, which starts its thread."""
        row = self.connection.execute(
            "SELECT message_id FROM mails WHERE fingerprint = ? ORDER BY id LIMIT 1",
            (fingerprint,),
        ).fetchone()
        return row[0] if row else None

    def mails_since(self, moment: float) -> int:
        """Count the mails, summaries aside, made since ``moment``."""
        row = self.connection.execute(
            "SELECT count(*) FROM mails WHERE created > ? AND kind != 'summary'", (moment,)
        ).fetchone()
        return int(row[0])

    def last_summary(self) -> float:
        """Return when the last summary was made, or 0."""
        row = self.connection.execute(
            "SELECT max(created) FROM mails WHERE kind = 'summary'"
        ).fetchone()
        return float(row[0] or 0)

    def add_mail(
        self,
        *,
        message_id: str,
        kind: str,
        fingerprint: str | None,
        created: float,
        count: int,
        subject: str,
        content: bytes,
        recipients: tuple[str, ...],
    ) -> int:
        """Queue a mail as it is, to be sent at once; return its id."""
        cursor = self.connection.execute(
            "INSERT INTO mails (message_id, kind, fingerprint, created, count, subject, content,"
            " recipients, next_try) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                kind,
                fingerprint,
                created,
                count,
                subject,
                content,
                json.dumps(recipients),
                created,
            ),
        )
        return int(cursor.lastrowid or 0)

    def assign(self, mail_id: int, fingerprint: str, up_to: int) -> int:
        """Note that a mail tells of a fingerprint's reports up to ``up_to``; return how many."""
        return self.connection.execute(
            "UPDATE reports SET mail_id = ? WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ?",
            (mail_id, fingerprint, up_to),
        ).rowcount

    def due(self, now: float, longest_wait: float) -> list[Mail]:
        """Return the mails to be sent now, those tried least often first, oldest first.

        One that would wait longer than ``longest_wait`` seconds is due: the clock was set back.
        """
        rows = self.connection.execute(
            "SELECT id, content, recipients, tries FROM mails"
            " WHERE state = 'waiting' AND NOT (next_try > ? AND next_try <= ?)"
            " ORDER BY tries, id LIMIT 100",
            (now, now + longest_wait),
        )
        return [Mail(row[0], row[1], tuple(json.loads(row[2])), row[3]) for row in rows]

    def next_try(self) -> float | None:
        """Return when the next mail is due."""
        row = self.connection.execute(
            "SELECT min(next_try) FROM mails WHERE state = 'waiting'"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def finish(self, mail: Mail, state: str, error: str | None = None) -> None:
        """Note that a mail was ``delivered``, or has ``failed`` for good and why."""
        self.connection.execute(
            "UPDATE mails SET state = ?, tries = tries + 1, finished = ?, error = ?,"
            " recipients = CASE ? WHEN 'delivered' THEN '[]' ELSE recipients END WHERE id = ?",
            (state, time.time(), error, state, mail.id),
        )

    def postpone(self, mail: Mail, until: float, error: str, recipients: tuple[str, ...]) -> None:
        """Note that ``recipients`` have not got a mail yet, why, and when to try again."""
        self.connection.execute(
            "UPDATE mails SET tries = tries + 1, next_try = ?, error = ?, recipients = ?"
            " WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
        )

    def put_off(self, until: float, error: str) -> None:
        """Note why no mail can be sent, and that none is tried before ``until``."""
        self.connection.execute(
            "UPDATE mails SET next_try = ?, error = ? WHERE state = 'waiting' AND next_try < ?",
            (until, error, until),
        )

    def wait_in_line(self) -> None:
        """Have new mails wait for as long as those that were put off."""
        self.connection.execute(
            "UPDATE mails SET next_try = earlier.next_try, error = earlier.error FROM"
            " (SELECT next_try, error FROM mails WHERE state = 'waiting' AND error IS NOT NULL"
            " ORDER BY next_try LIMIT 1) AS earlier WHERE state = 'waiting' AND mails.error IS NULL"
        )

    def purge(self, before: float) -> None:
        """Delete what was delivered, or recorded while mail was off, before ``before``."""
        with self.transaction():
            self.connection.execute(
                "DELETE FROM reports WHERE time < ? AND (NOT mailable OR mail_id IN"
                " (SELECT id FROM mails WHERE state = 'delivered'))",
                (before,),
            )
            self.connection.execute(
                "DELETE FROM mails WHERE created < ? AND state = 'delivered'"
                " AND NOT EXISTS (SELECT 1 FROM reports WHERE mail_id = mails.id)",
                (before,),
            )
