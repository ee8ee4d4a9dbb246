"""The courier's side of the spool: what waits, and what became of it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ..report.report import Report
from .database import close, identity, insert, opened, purge, report_of, told_whole
from .outbox import LOG_SHARE, Outbox

COURIER_TIMEOUT: Final = 5.0  # seconds that the courier may wait for other writers
AT_ONCE: Final = 100  # reports in one transaction: visitors' reports wait for its end

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that waits: ``content`` is the whole message in bytes.

    ``recipients`` is who has not got it yet; empty where that is for ADMINS to say.
    """

    id: int
    content: bytes
    recipients: tuple[str, ...]
    tries: int


@dataclass(frozen=True, slots=True)
class Group:
    """Reports of one fingerprint that no mail tells of yet.

    ``first`` is when the first of them was made, ``last_mail`` when the last mail about that
    fingerprint was, both in seconds since the epoch.
    """

    fingerprint: str
    first: float
    last_mail: float | None


class Queue:
    """The courier's side of the outbox: what waits, and what became of it.

    Only the process that holds ``courier.lock`` may use it.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.connection, self.identity = opened(outbox.path, COURIER_TIMEOUT)

    def close(self) -> None:
        """Close the database."""
        close(self.connection, self.outbox.path, self.identity)

    def is_current(self) -> bool:
        """Tell whether the open database is still the file that is in the folder."""
        return self.identity == identity(self.outbox.path)

    def version(self) -> int:
        """Return a number that changes when another process has written to the database."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def checkpoint(self) -> None:
        """Bring the log (the database's -wal) into the database, as far as nobody is at it."""
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def shorten_log(self) -> None:
        """Bring all of the log into the database where it is larger than its share of the spool.

        Who is at it is waited for: while that is always somebody, it only grows.
        """
        with suppress(FileNotFoundError):
            size = os.stat(f"{self.outbox.path}-wal").st_size
            if size > self.outbox.max_bytes * LOG_SHARE:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements inside one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.rollback()  # a disk that is full has ended it already
            raise
        self.connection.execute("COMMIT")

    def take_incoming(self, between: Callable[[], None] = lambda: None) -> None:
        """Move the reports of ``incoming/`` into the database, ``between`` after every hundred."""
        for taken in self.outbox.incoming.take():
            for start in range(0, len(taken.rows), AT_ONCE):
                with self.transaction():
                    for row in taken.rows[start : start + AT_ONCE]:
                        insert(self.connection, row)
                between()
            if not self.is_current():
                return  # the rows went into a file that is no longer there: the next one takes it
            self.outbox.incoming.taken_in(taken)

    def groups(self, now: float) -> list[Group]:
        """Return the fingerprints that have reports without a mail, the oldest first.

        Mails of after ``now`` do not count: the clock was set back. From one fingerprint to the
        next in the index: ten thousand repeats cost no more than one.
        """
        rows = self.connection.execute(
            "WITH RECURSIVE kinds(fingerprint) AS ("
            " SELECT min(fingerprint) FROM reports WHERE mail_id IS NULL AND mailable"
            " UNION ALL SELECT (SELECT min(fingerprint) FROM reports WHERE mail_id IS NULL"
            " AND mailable AND fingerprint > kinds.fingerprint)"
            " FROM kinds WHERE kinds.fingerprint IS NOT NULL)"
            " SELECT kinds.fingerprint, time, (SELECT max(created) FROM mails"
            " WHERE mails.fingerprint = kinds.fingerprint AND created <= ?)"
            " FROM kinds JOIN reports ON reports.id ="
            " (SELECT min(id) FROM reports WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = kinds.fingerprint) ORDER BY reports.id",
            (now,),
        ).fetchall()
        return [Group(*row) for row in rows]

    def unmailed(self, fingerprint: str, limit: int) -> list[tuple[int, Report]]:
        """Return up to ``limit`` reports of a fingerprint that no mail tells of, oldest first."""
        rows = self.connection.execute(
            "SELECT id, body, uuid, time, fingerprint, request_id FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ? ORDER BY id LIMIT ?",
            (fingerprint, limit),
        )
        return [(row[0], report_of(*row[1:])) for row in rows]

    def told_whole(self, report: Report) -> Report:
        """Return a report with the traceback of the one that it refers to, if it does."""
        return told_whole(self.connection, report)

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

    def mails_between(self, since: float, now: float) -> int:
        """Count the mails, summaries aside, made in that time; the clock may have been set back."""
        row = self.connection.execute(
            "SELECT count(*) FROM mails WHERE created > ? AND created <= ? AND kind != 'summary'",
            (since, now),
        ).fetchone()
        return int(row[0])

    def last_summary(self, now: float) -> float:
        """Return when the last summary was made, or 0; the clock may have been set back."""
        row = self.connection.execute(
            "SELECT max(created) FROM mails WHERE kind = 'summary' AND created <= ?", (now,)
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
        return [Mail(row[0], row[1], _recipients(row[2]), row[3]) for row in rows]

    def next_try(self) -> float | None:
        """Return when the next mail is due."""
        row = self.connection.execute(
            "SELECT min(next_try) FROM mails WHERE state = 'waiting'"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def has_delivered_since(self, mail: Mail) -> bool:
        """Tell whether any mail was delivered after this one was queued."""
        row = self.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM mails WHERE state = 'delivered' AND finished >="
            " (SELECT created FROM mails WHERE id = ?))",
            (mail.id,),
        ).fetchone()
        return bool(row[0])

    def claim(self, mail: Mail) -> None:
        """Write to a mail before it is sent: what becomes of it could not be noted otherwise.

        Raises :exc:`sqlite3.Error`.
        """
        self.connection.execute("UPDATE mails SET error = error WHERE id = ?", (mail.id,))

    def finish(self, mail: Mail, state: str, error: str | None = None) -> None:
        """Note that a mail was ``delivered``, or has ``failed`` for good and why."""
        self.connection.execute(
            "UPDATE mails SET state = ?, tries = tries + 1, finished = ?, error = ?,"
            " recipients = CASE ? WHEN 'delivered' THEN '[]' ELSE recipients END WHERE id = ?",
            (state, time.time(), error, state, mail.id),
        )
        self.connection.execute("DELETE FROM counters WHERE name = ?", (_unconfirmed(mail),))

    def count_unconfirmed(self, mail: Mail, change: int) -> int:
        """Change, and return, the number of attempts after which a mail may have been delivered."""
        name = _unconfirmed(mail)
        if change:
            self.connection.execute(
                "INSERT INTO counters VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = max(value + excluded.value, 0)",
                (name, change),
            )
        row = self.connection.execute("SELECT value FROM counters WHERE name = ?", (name,))
        return int((row.fetchone() or (0,))[0])

    def await_reply(
        self, mail: Mail, until: float, error: str, recipients: tuple[str, ...]
    ) -> None:
        """Note when to send a mail again, and to whom, if the process ends before the reply."""
        self.connection.execute(
            "UPDATE mails SET next_try = ?, error = ?, recipients = ? WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
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
            purge(self.connection, before, before)  # days ago, while a window is one at most


def _unconfirmed(mail: Mail) -> str:
    return f"unconfirmed {mail.id}"


def _recipients(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError):  # a broken byte
        return ()
    good = isinstance(found, list) and all(isinstance(one, str) and one.isascii() for one in found)
    return tuple(found) if good else ()
