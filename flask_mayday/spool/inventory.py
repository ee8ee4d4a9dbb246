"""The inventory: what operators read of the spool, and what they change in it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..report.report import Report
from .database import WAITING_SINCE, Database
from .posts import WAITING_SINCE as POSTS_WAITING_SINCE
from .stored_report import StoredReport, readable_report

STUCK: Final = 3600.0  # seconds for which mail may wait before something is wrong
COUNT_REFUSED: Final = "SELECT count(*) FROM mails WHERE state = 'failed'"


@dataclass(frozen=True, slots=True)
class ListedMail:
    """A mail without its text; times in seconds since the epoch."""

    id: int
    created: float
    kind: str
    count: int
    state: str
    tries: int
    next_try: float
    subject: str
    error: str | None


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The delivery status of the mail about an error; times in seconds since the epoch."""

    time: float  # of the error
    mailable: bool
    state: str | None  # of its mail; None: it has none yet
    finished: float | None
    subject: str | None
    error: str | None  # the mail server's last answer
    hidden: str | None = None  # why it is not mailed: muted or ignored

    @property
    def is_final(self) -> bool:
        """Whether it cannot change any more."""
        return not self.mailable or self.state in ("delivered", "failed", "off")


class MailState(NamedTuple):
    """Since when mail has been waiting, how many mails were refused, and the server's reply."""

    waiting_since: float | None = None
    refused: int = 0
    reply: str = ""


class Inventory(Database):
    """The database, for processes other than the courier, such as the operator's commands."""

    def error_counts(self) -> dict[str, int]:
        """Return how many errors are in each state.

        The states are those of mails (waiting, delivered, failed, off), and for errors without a
        mail ``held``, ``hidden`` and ``unmailable``. Errors in mails are counted by the mails,
        because their reports may have been evicted.
        """
        return dict(
            self.connection.execute(
                "SELECT state, sum(count) FROM mails GROUP BY state UNION ALL"
                " SELECT CASE WHEN mailable THEN 'held' WHEN hidden IS NOT NULL THEN 'hidden'"
                " ELSE 'unmailable' END AS kind, count(*)"
                " FROM reports WHERE mail_id IS NULL GROUP BY kind"
            ).fetchall()
        )

    def last_mails(self, limit: int) -> list[ListedMail]:
        """Return the newest mails, oldest first."""
        rows = self.connection.execute(
            "SELECT id, created, kind, count, state, tries, next_try, subject, error FROM mails"
            " ORDER BY id DESC LIMIT ?",
            (limit,),
        ).fetchall()
        return [ListedMail(*row) for row in reversed(rows)]

    def held_since(self) -> float | None:
        """Return the time of the oldest report without a mail, or ``None`` if all have one."""
        since: float | None = self._value(
            "SELECT min(time) FROM reports WHERE mail_id IS NULL AND mailable"
        )
        return since

    def refused(self) -> int:
        """Return how many mails were refused for good."""
        return int(self._value(COUNT_REFUSED) or 0)

    def mail_content(self, number: str) -> bytes | None:
        """Return a mail's text, empty if it was deleted; ``None`` if there is no such mail.

        ``number`` is the mail's id in decimal digits.
        """
        content: bytes | None = self._value("SELECT content FROM mails WHERE id = ?", number)
        return content

    def reports_of_request(self, request_id: str, waiting: list[StoredReport]) -> list[Report]:
        """Return the reports of a request, including those in ``waiting``, which are from files.

        If there are none, returns the reports of worker deaths that interrupted the request.
        """
        query = "SELECT body, uuid, time, fingerprint, request_id FROM reports WHERE "
        rows = self.connection.execute(f"{query} request_id = ?", (request_id,)).fetchall()
        rows += [_row(report) for report in waiting if report.request_id == request_id]
        if not rows:
            rows = self.connection.execute(f"{query} instr(body, ?)", (request_id,)).fetchall()
            rows += [_row(report) for report in waiting]
            rows = [row for row in rows if readable_report(*row).interrupted(request_id)]
        reports = {row[1]: readable_report(*row) for row in rows}
        bodies = {report.uuid: report.body for report in waiting}
        return [self.with_traceback(one, bodies.get(one.like)) for one in reports.values()]

    def delivery_of(self, request_id: str) -> DeliveryStatus | None:
        """Return the delivery status of the mail about a request's last error.

        Returns ``None`` if the courier has not processed such an error yet.
        """
        row = self.connection.execute(
            "SELECT reports.time, mailable, state, finished, subject, error, hidden FROM reports"
            " LEFT JOIN mails ON mails.id = mail_id WHERE request_id = ?"
            " ORDER BY reports.id DESC LIMIT 1",
            (request_id,),
        ).fetchone()
        return DeliveryStatus(*row) if row else None

    def retry(self, admins: tuple[str, ...]) -> tuple[int, int]:
        """Make every mail due now; return how many were waiting, and how many had failed."""
        with self.transaction():
            failed = self.connection.execute(
                "UPDATE mails SET state = 'waiting', next_try = 0, finished = ?,"
                " notice_id = NULL, recipients = CASE recipients WHEN '[]' THEN ?"
                " ELSE recipients END WHERE state = 'failed'",
                (time.time(), json.dumps(admins)),
            ).rowcount
            waiting = self.connection.execute(
                "UPDATE mails SET next_try = 0 WHERE state = 'waiting' AND next_try > 0"
            ).rowcount
        return waiting, failed

    def resend(self, admins: tuple[str, ...], numbers: tuple[int, ...], since: float) -> int:
        """Queue delivered mails again, under their old Message-ID; return how many.

        These are the mails with the ids ``numbers`` and those delivered after ``since``, in seconds
        since the epoch. A mail whose text was deleted cannot be sent again.
        """
        with self.transaction():
            return self.connection.execute(
                "UPDATE mails SET state = 'waiting', next_try = 0, tries = 0, error = NULL,"
                " finished = ?, recipients = ? WHERE state = 'delivered'"
                " AND content != '' AND (finished >= ? OR id IN (SELECT value FROM json_each(?)))",
                (time.time(), json.dumps(admins), since, json.dumps(numbers)),
            ).rowcount

    def _value(self, query: str, *values: object) -> Any:
        row = self.connection.execute(query, values).fetchone()
        return row[0] if row else None


def mail_state(path: Path) -> MailState:
    """Return how the delivery of mail is going; writes nothing. Raises :exc:`sqlite3.Error`."""
    with open_read_only(path) as connection:
        if connection is None:
            return MailState()
        (since,) = connection.execute(WAITING_SINCE).fetchone()
        (refused,) = connection.execute(COUNT_REFUSED).fetchone()
        row = connection.execute(
            "SELECT error FROM mails WHERE state = 'waiting' AND error IS NOT NULL LIMIT 1"
        ).fetchone()
        return MailState(since, refused, row[0] if row else "")


def reported_requests(path: Path, request_ids: list[str], since: float) -> set[str]:
    """Return those of ``request_ids`` that a report is about, or lists as interrupted.

    Searches the last 1,000 reports, and of these only reports made after ``since``, in seconds
    since the epoch. ``path`` is the spool's database, which is only read; without it, the result
    is empty. Raises :exc:`sqlite3.Error`.
    """
    with open_read_only(path) as connection:
        if connection is None:
            return set()
        rows = connection.execute(
            "SELECT request_id, body FROM (SELECT * FROM reports ORDER BY id DESC LIMIT 1000)"
            " WHERE time > ?",
            (since,),
        ).fetchall()
    wanted, found = set(request_ids), set()
    for request_id, body in rows:
        if request_id in wanted:
            found.add(request_id)
        elif '"requests":' in body:
            found |= {one for one in wanted if one in body}
    return found


def webhook_state(path: Path) -> float | None:
    """Return since when messages to the webhook have been waiting, or ``None``; writes nothing.

    Raises :exc:`sqlite3.Error`.
    """
    with open_read_only(path) as connection:
        try:
            row = connection and connection.execute(POSTS_WAITING_SINCE).fetchone()
        except sqlite3.OperationalError:  # an earlier version has made the database
            return None
        return float(row[0]) if row and row[0] is not None else None


def mail_of_request(path: Path, request_id: str) -> bytes | None:
    """Return the newest mail about a request, as it was or will be sent; ``None`` without one.

    Writes nothing. Raises :exc:`sqlite3.Error`.
    """
    with open_read_only(path) as connection:
        row = (
            connection
            and connection.execute(
                "SELECT content FROM mails JOIN reports ON reports.mail_id = mails.id"
                " WHERE reports.request_id = ? AND content != '' ORDER BY mails.id DESC LIMIT 1",
                (request_id,),
            ).fetchone()
        )
        return bytes(row[0]) if row else None


@contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the database at ``path``; yield ``None`` if it has no tables yet.

    Raises :exc:`sqlite3.Error`.
    """
    if _is_missing(path):
        yield None
        return
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, timeout=0.5, uri=True)) as connection:
        is_empty = connection.execute("PRAGMA user_version").fetchone() == (0,)
        yield None if is_empty else connection


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:
        return False  # SQLite then says that it cannot be opened


def _row(report: StoredReport) -> tuple[str, str, float, str, str | None]:
    return (report.body, report.uuid, report.time, report.fingerprint, report.request_id)
