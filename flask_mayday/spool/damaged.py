"""Reads the rows of a damaged database that SQLite can still read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from ..report.report import Report
from .database import lenient_text
from .error_group import ErrorGroup
from .groups import COLUMNS, SELECT, group_of
from .stored_mail import NewMail, recipients_of
from .stored_report import StoredReport

GROUP_TEXTS: Final = frozenset(
    {
        "fingerprint",
        "state",
        "title",
        "source",
        "first_release",
        "last_release",
        "state_before",
        "muted_release",
        "resolved_release",
    }
)
GROUP_OPTIONAL: Final = frozenset({"muted_at", "muted_until", "resolved_at", "back_at"})
# Queries, and the statements that insert their rows. The first column is only for sorting.
COPIES: Final = (
    (
        "SELECT id, created, exception, logger, route, message, hidden FROM ignore_rules",
        "INSERT INTO ignore_rules (created, exception, logger, route, message, hidden)"
        " VALUES (?, ?, ?, ?, ?, ?)",
    ),
    (
        "SELECT alias, alias, fingerprint FROM fingerprint_aliases",
        "INSERT OR IGNORE INTO fingerprint_aliases VALUES (?, ?)",
    ),
    (
        "SELECT id, key, kind, created, count, message, created FROM posts WHERE state = 'waiting'",
        "INSERT OR IGNORE INTO posts (key, kind, created, count, message, next_try)"
        " VALUES (?, ?, ?, ?, ?, ?)",
    ),
)


class DamagedDatabase(closing[sqlite3.Connection]):
    """The damaged database at ``path``, which has been replaced; use it as a context manager.

    A table is read from its start to the first damaged page, and from its end back to the last.
    """

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.text_factory = lenient_text
        super().__init__(self.connection)

    def __enter__(self) -> DamagedDatabase:  # type: ignore[override]
        return self

    def reports(self) -> Iterator[tuple[int | None, StoredReport]]:
        """Yield the reports that nobody has received, with the id of their mail if they have one.

        If the state of a mail cannot be read, its reports are included.
        """
        states = dict(self._rows("SELECT id, state FROM mails NOT INDEXED"))
        for _, body, mailable, mail_id in self._rows(
            "SELECT id, body, mailable, mail_id FROM reports NOT INDEXED"
        ):
            if states.get(mail_id) in ("delivered", "failed", "off"):
                continue
            with suppress(ValueError, TypeError):
                yield mail_id, StoredReport.of(Report.from_json(body), mailable=bool(mailable))

    def waiting_mails(self) -> Iterator[tuple[int, NewMail]]:
        """Yield the waiting mails, unchanged, with their ids: some may have been received."""
        now = time.time()
        for number, state, created, recipients, *columns in self._rows(
            "SELECT id, state, created, recipients, message_id, kind, fingerprint, count, subject,"
            " content FROM mails NOT INDEXED"
        ):
            message_id, kind, fingerprint, count, subject, content = columns
            texts = (message_id, kind, subject, fingerprint or "")
            if not all(isinstance(text, str) for text in texts):
                continue
            if state == "waiting" and isinstance(count, int) and _is_message(content):
                is_time = isinstance(created, float) and 0 <= created <= now
                moment = created if is_time else now
                addresses = recipients_of(recipients)
                mail = NewMail(
                    message_id, kind, fingerprint, moment, count, subject, content, addresses
                )
                yield number, mail

    def groups(self) -> Iterator[ErrorGroup]:
        """Yield the error groups that can be read."""
        for row in self._rows(SELECT):
            if all(map(_is_column_of_group, COLUMNS, row)):
                yield group_of(row)

    def other_rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield a statement and its values for each rule, alias and waiting post."""
        for query, insert in COPIES:
            for _, *values in self._rows(query):
                if all(isinstance(value, (str, int, float)) for value in values):
                    yield insert, tuple(values)

    def dropped(self) -> int:
        """Return how many errors were deleted without a mail and are not counted in one yet."""
        for _, name, value in self._rows("SELECT rowid, name, value FROM counters"):
            if name == "dropped" and isinstance(value, int) and value > 0:
                return value
        return 0

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query that can be read, sorted by their first column."""
        seen = set()
        with suppress(sqlite3.Error):
            for row in self.connection.execute(f"{query} ORDER BY 1"):
                seen.add(row[0])
                yield row
            return
        with suppress(sqlite3.Error):
            for row in self.connection.execute(f"{query} ORDER BY 1 DESC"):
                if row[0] in seen:
                    return
                yield row


def _is_column_of_group(name: str, value: object) -> bool:
    if name in GROUP_TEXTS:
        return isinstance(value, str)
    return isinstance(value, (int, float)) or (value is None and name in GROUP_OPTIONAL)


def _is_message(content: object) -> bool:
    try:
        return isinstance(content, bytes) and "\0" not in content.decode()
    except UnicodeDecodeError:
        return False
