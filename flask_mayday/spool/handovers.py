"""Errors that another machine may mail, and the mails that this machine has claimed.

Errors that were handed over stay in the spool until the mail that counts them is known to be sent.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .mailbox import Mailbox

TALLIES: Final = (
    "SELECT reports.fingerprint, previous, count(*), min(time), max(time),"
    " coalesce((SELECT title FROM error_groups WHERE"
    " error_groups.fingerprint = reports.fingerprint), '') FROM claims"
    " JOIN mails ON mails.id = claims.mail_id JOIN reports ON reports.mail_id = mails.id"
    " WHERE state = 'elsewhere' AND window_number IS NULL GROUP BY reports.fingerprint, previous"
)
AWAITED: Final = (
    "SELECT window_number FROM claims JOIN mails ON id = mail_id"
    " WHERE state = 'elsewhere' AND window_number IS NOT NULL UNION"
    " SELECT window_number FROM windows WHERE NOT is_sent"
    " AND window_number NOT IN (SELECT coalesce(window_number, -1) FROM claims)"
    " AND EXISTS (SELECT 1 FROM reports WHERE reports.fingerprint = windows.fingerprint"
    " AND mail_id IS NULL AND mailable)"
)
MINE: Final = (
    "SELECT mail_id, window_number FROM claims JOIN mails ON id = mail_id WHERE kind != 'elsewhere'"
)
DONE: Final = (
    "SELECT mail_id, window_number FROM claims JOIN mails ON id = mail_id"
    " WHERE kind != 'elsewhere' AND (state IN ('delivered', 'failed')"
    " OR (state = 'off' AND NOT EXISTS"
    " (SELECT 1 FROM posts WHERE key = trim(message_id, '<>') AND state = 'waiting')))"
)
FORGET: Final = (
    "UPDATE reports SET mail_id = NULL WHERE mail_id IN"
    " (SELECT id FROM mails WHERE state = 'elsewhere')",
    "DELETE FROM mails WHERE state = 'elsewhere'",
    "DELETE FROM claims",
    "DELETE FROM windows",
)


@dataclass(frozen=True, slots=True)
class KnownWindow:
    """The window that a mail has opened; ``opened`` is in seconds since the epoch."""

    number: int
    opened: float


class Handovers:
    """What ``mailbox`` has handed over and claimed. Call what changes it within a transaction."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.connection = mailbox.connection

    # Windows

    def window(self, fingerprint: str) -> KnownWindow | None:
        """Return the current window of a fingerprint, if one is known."""
        row = self.connection.execute(
            "SELECT window_number, opened FROM windows WHERE fingerprint = ?", (fingerprint,)
        ).fetchone()
        return KnownWindow(*row) if row else None

    def note_window(self, fingerprint: str, number: int, opened: float, *, is_sent: bool) -> None:
        """Record the current window of a fingerprint."""
        self.connection.execute(
            "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)",
            (fingerprint, number, opened, is_sent),
        )

    def awaited(self) -> list[int]:
        """Return the windows whose mails other machines are to send."""
        return self.mailbox.column(AWAITED)

    # Handing over

    def hand_over(self, fingerprint: str, window: int, now: float) -> None:
        """Hand over the errors of a fingerprint without a mail, to be counted in a window."""
        row = self._open_row(window) or self._add_row(window, now)
        self.connection.execute(
            "UPDATE reports SET mail_id = ? WHERE mail_id IS NULL AND mailable AND fingerprint = ?",
            (row, fingerprint),
        )
        self._count(row)

    def tallies(self) -> list[tuple[str, int, int, float, float, str]]:
        """Return the errors that were handed over to windows which are not known to be closed.

        Each row has fingerprint, window, number, times of the first and the last error, and title.
        """
        return self.connection.execute(TALLIES).fetchall()

    def close(self, fingerprint: str, window: int, successor: int, number: int) -> None:
        """Record that the mail of ``successor`` counts the first ``number`` errors of a window.

        The others are in no mail.
        """
        row = self._row(window, successor)
        if row is None:
            return
        self.connection.execute(
            "UPDATE reports SET mail_id = NULL WHERE mail_id = ? AND fingerprint = ? AND id NOT IN"
            " (SELECT id FROM reports WHERE mail_id = ? AND fingerprint = ? ORDER BY id LIMIT ?)",
            (row, fingerprint, row, fingerprint, number),
        )
        self.connection.execute(
            "UPDATE claims SET window_number = ? WHERE mail_id = ?", (successor, row)
        )
        self._count(row)

    def take_back(self, fingerprint: str, window: int) -> None:
        """Take back the errors of a fingerprint that were handed over to be counted in a window."""
        rows = self.mailbox.column(
            "SELECT mail_id FROM claims JOIN mails ON id = mail_id"
            " WHERE state = 'elsewhere' AND previous = ?",
            (window,),
        )
        for row in rows:
            self.connection.execute(
                "UPDATE reports SET mail_id = NULL WHERE mail_id = ? AND fingerprint = ?",
                (row, fingerprint),
            )
            self._count(row)

    def finish(self, windows: Iterable[int]) -> None:
        """Record that other machines have delivered the mails of these windows."""
        for window in windows:
            self.connection.execute(
                "UPDATE windows SET is_sent = 1 WHERE window_number = ?", (window,)
            )
            self.connection.execute(
                "UPDATE mails SET state = 'delivered', finished = ? WHERE state = 'elsewhere'"
                " AND id IN (SELECT mail_id FROM claims WHERE window_number = ?)",
                (time.time(), window),
            )
        self.connection.execute(
            "DELETE FROM claims WHERE mail_id IN"
            " (SELECT id FROM mails WHERE kind = 'elsewhere' AND state != 'elsewhere')"
        )

    def release(self, windows: Iterable[int]) -> None:
        """Take back the errors for the mails of these windows, which no machine knows any more."""
        for window in windows:
            self.connection.execute(
                "UPDATE reports SET mail_id = NULL WHERE mail_id IN (SELECT id FROM mails JOIN"
                " claims ON id = mail_id WHERE state = 'elsewhere' AND window_number = ?)",
                (window,),
            )
            self.connection.execute("DELETE FROM windows WHERE window_number = ?", (window,))
        self._delete_empty()

    def release_open(self, before: float) -> None:
        """Take back the errors handed over before a time that are not known to be in a mail."""
        self.connection.execute(
            "UPDATE reports SET mail_id = NULL WHERE mail_id IN (SELECT id FROM mails JOIN claims"
            " ON id = mail_id WHERE state = 'elsewhere' AND window_number IS NULL AND created < ?)",
            (before,),
        )
        self._delete_empty()

    def forget(self) -> None:
        """Take back everything, because COURIERS_AGREE is off now."""
        for statement in FORGET:
            self.connection.execute(statement)

    # Claims

    def add_claim(self, mail_id: int, window: int, previous: int | None) -> None:
        """Record the claim of a mail that opens ``window`` and has the counts of ``previous``."""
        self.connection.execute(
            "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (mail_id, window, previous)
        )

    def mail_id_of(self, message_id: str) -> int | None:
        """Return the id of the mail with that Message-ID, if there is one."""
        found = self.mailbox.column("SELECT id FROM mails WHERE message_id = ?", (message_id,))
        return found[0] if found else None

    def mine(self) -> dict[int, int]:
        """Return the windows of the claimed mails of this machine, by the mails' ids."""
        return dict(self.connection.execute(MINE).fetchall())

    def done(self) -> dict[int, int]:
        """Return the windows of :meth:`mine` whose mails are delivered or refused for good."""
        return dict(self.connection.execute(DONE).fetchall())

    def confirm(self, mail_ids: Iterable[int]) -> None:
        """Record that the other machines know that these mails are sent."""
        for mail_id in mail_ids:
            self.connection.execute(
                "UPDATE windows SET is_sent = 1 WHERE window_number ="
                " (SELECT window_number FROM claims WHERE mail_id = ?)",
                (mail_id,),
            )
            self.connection.execute("DELETE FROM claims WHERE mail_id = ?", (mail_id,))

    def lose(self, mail_id: int) -> None:
        """Record that another machine has taken over the claim of a mail, with its counts.

        That machine does not have this one's reports: they are in no mail again.
        """
        self.connection.execute(
            "DELETE FROM posts WHERE state = 'waiting' AND key ="
            " (SELECT trim(message_id, '<>') FROM mails WHERE id = ?)",
            (mail_id,),
        )
        self.connection.execute(
            "UPDATE reports SET mail_id = NULL WHERE mail_id ="
            " (SELECT id FROM mails WHERE id = ? AND kind = 'report')",
            (mail_id,),
        )
        self.connection.execute(
            "UPDATE mails SET kind = 'elsewhere', state = 'elsewhere', fingerprint = NULL,"
            " message_id = ?, content = '', subject = '', recipients = '[]' WHERE id = ?",
            (f"elsewhere {uuid.uuid4().hex}", mail_id),
        )
        self._count(mail_id)

    def _open_row(self, window: int) -> int | None:
        found = self.mailbox.column(
            "SELECT id FROM mails JOIN claims ON id = mail_id"
            " WHERE state = 'elsewhere' AND window_number IS NULL AND previous = ?",
            (window,),
        )
        return found[0] if found else None

    def _row(self, window: int, successor: int) -> int | None:
        found = self.mailbox.column(
            "SELECT id FROM mails JOIN claims ON id = mail_id WHERE state = 'elsewhere'"
            " AND previous = ? AND coalesce(window_number, ?) = ?",
            (window, successor, successor),
        )
        return found[0] if found else None

    def _add_row(self, window: int, now: float) -> int:
        cursor = self.connection.execute(
            "INSERT INTO mails (message_id, kind, created, count, subject, content, recipients,"
            " state, next_try) VALUES (?, 'elsewhere', ?, 0, '', '', '[]', 'elsewhere', 0)",
            (f"elsewhere {window} {uuid.uuid4().hex}", now),
        )
        row = int(cursor.lastrowid or 0)
        self.connection.execute("INSERT OR REPLACE INTO claims VALUES (?, NULL, ?)", (row, window))
        return row

    def _count(self, row: int) -> None:
        self.connection.execute(
            "UPDATE mails SET count = (SELECT count(*) FROM reports WHERE mail_id = mails.id)"
            " WHERE id = ? AND state = 'elsewhere'",
            (row,),
        )
        self._delete_empty()

    def _delete_empty(self) -> None:
        self.connection.execute(
            "DELETE FROM mails WHERE state = 'elsewhere'"
            " AND NOT EXISTS (SELECT 1 FROM reports WHERE mail_id = mails.id)"
        )
        self.connection.execute("DELETE FROM claims WHERE mail_id NOT IN (SELECT id FROM mails)")
