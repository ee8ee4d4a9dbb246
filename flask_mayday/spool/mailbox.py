"""The mailbox: the courier's view of the spool, from reports to mails to their outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from ..report.report import Report
from .database import LOCK_TIMEOUT, Database
from .outbox import WAL_SHARE, Outbox
from .stored_mail import NewMail, PendingErrors, StoredMail, recipients_of
from .stored_report import StoredReport, readable_report

BATCH_REPORTS: Final = 100  # in one transaction
BATCH_SHARE: Final = 1 / 32  # of SPOOL_MAX_BYTES, in one transaction


class Mailbox(Database):
    """The database of ``outbox``, for the one process that delivers.

    Methods that change something raise :exc:`~.database.LeaseLostError` once another courier has
    taken over.
    """

    def __init__(self, outbox: Outbox, timeout: float = LOCK_TIMEOUT) -> None:
        self.outbox = outbox
        super().__init__(outbox.path, timeout)

    def keep_wal_small(self) -> None:
        """Keep the -wal file within its share of the quota."""
        self.truncate_wal(self.outbox.max_bytes * WAL_SHARE)

    # Reports

    def take_incoming(self, after_batch: Callable[[], None] = lambda: None) -> None:
        """Move the reports of ``incoming/`` into the database; call ``after_batch`` in between.

        Raises :exc:`OSError` where no file can be read.
        """
        for file in self.outbox.incoming.take():
            for batch in self._batches(file.reports):
                with self.transaction():
                    for report in batch:
                        self.insert(report)
                after_batch()
            if not self.is_current():
                return  # the database was deleted: the next one gets these reports
            self.outbox.incoming.finish(file)

    def _batches(self, reports: list[StoredReport]) -> Iterator[list[StoredReport]]:
        batch: list[StoredReport] = []
        size = 0
        for report in reports:
            batch.append(report)
            size += len(report.body)
            if len(batch) == BATCH_REPORTS or size > self.outbox.max_bytes * BATCH_SHARE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def insert(self, report: StoredReport) -> None:
        """Insert a report, unless it is there already."""
        self.connection.execute(
            "INSERT OR IGNORE INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
            " VALUES (:uuid, :time, :fingerprint, :request_id, :body, :mailable)",
            {name: getattr(report, name) for name in StoredReport.__slots__},
        )

    def pending_errors(self, now: float) -> list[PendingErrors]:
        """Return the fingerprints that have reports without a mail, oldest first.

        Mails made after ``now`` do not count: the clock was set back. The recursion goes from one
        fingerprint to the next in the index, so ten thousand identical errors cost as much as one.
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
        )
        return [PendingErrors(*row) for row in rows.fetchall()]

    def first_pending(self, fingerprint: str) -> tuple[int, Report]:
        """Return id and report of the oldest one that is in no mail, with its traceback."""
        number, *columns = self.connection.execute(
            "SELECT id, body, uuid, time, fingerprint, request_id FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ? ORDER BY id LIMIT 1",
            (fingerprint,),
        ).fetchone()
        return number, self.with_traceback(readable_report(*columns))

    def pending_span(self, fingerprint: str) -> tuple[int, int, float, float]:
        """Return last id, count, first and last time of the reports that are in no mail."""
        row: tuple[int, int, float, float] = self.connection.execute(
            "SELECT max(id), count(*), min(time), max(time) FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ?",
            (fingerprint,),
        ).fetchone()
        return row

    def pending_request_ids(self, fingerprint: str, up_to: int, limit: int) -> list[str]:
        """Return request ids of reports that are in no mail, up to report ``up_to``."""
        return self._column(
            "SELECT DISTINCT request_id FROM reports WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ? AND request_id IS NOT NULL ORDER BY id LIMIT ?",
            (fingerprint, up_to, limit),
        )

    # Mails that are made

    def first_message_id(self, fingerprint: str) -> str | None:
        """Return the Message-ID of the first mail about a fingerprint: later ones refer to it."""
        found = self._column(
            "SELECT message_id FROM mails WHERE fingerprint = ? ORDER BY id LIMIT 1", (fingerprint,)
        )
        return found[0] if found else None

    def mails_between(self, since: float, now: float) -> int:
        """Return how many mails count towards the hourly cap in that time."""
        (count,) = self._column(
            "SELECT count(*) FROM mails WHERE created > ? AND created <= ?"
            " AND kind NOT IN ('summary', 'notice')",
            (since, now),
        )
        return int(count)

    def last_mail_of_kind(self, kind: str, now: float) -> float:
        """Return when the last mail of a kind was made, up to ``now``; 0 where there is none."""
        (found,) = self._column(
            "SELECT max(created) FROM mails WHERE kind = ? AND created <= ?", (kind, now)
        )
        return float(found or 0)

    def add_mail(self, mail: NewMail) -> int:
        """Add a mail that is due at once; return its id."""
        cursor = self.connection.execute(
            "INSERT INTO mails (message_id, kind, fingerprint, created, count, subject, content,"
            " recipients, next_try) VALUES (:message_id, :kind, :fingerprint, :created, :count,"
            " :subject, :content, :recipients, :created)",
            asdict(mail) | {"recipients": json.dumps(mail.recipients)},
        )
        return int(cursor.lastrowid or 0)

    def assign(self, mail_id: int, fingerprint: str, up_to: int) -> None:
        """Note that a mail reports or counts the reports of a fingerprint up to ``up_to``."""
        self.connection.execute(
            "UPDATE reports SET mail_id = ? WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ?",
            (mail_id, fingerprint, up_to),
        )

    def assign_uuids(self, mail_id: int, uuids: list[str]) -> None:
        """Note that a mail reports or counts the reports with these uuids."""
        self.connection.executemany(
            "UPDATE reports SET mail_id = ? WHERE uuid = ?", [(mail_id, uuid) for uuid in uuids]
        )

    def refused_mails(self) -> tuple[int, list[str]]:
        """Return the errors in refused mails that no notice mentions, and their request ids."""
        (count,) = self._column(
            "SELECT coalesce(sum(count), 0) FROM mails"
            " WHERE state = 'failed' AND kind != 'notice' AND notice_id IS NULL"
        )
        ids = self._column(
            "SELECT DISTINCT request_id FROM reports JOIN mails ON mails.id = mail_id"
            " WHERE request_id IS NOT NULL AND state = 'failed' AND kind != 'notice'"
            " AND notice_id IS NULL ORDER BY reports.id"
        )
        return int(count), ids

    def mention_refused(self, notice_id: int) -> None:
        """Note that a notice mentions every refused mail."""
        self.connection.execute(
            "UPDATE mails SET notice_id = ?"
            " WHERE state = 'failed' AND kind != 'notice' AND notice_id IS NULL",
            (notice_id,),
        )

    # Mails that are sent

    def due(self, now: float, longest_wait: float) -> list[StoredMail]:
        """Return the mails to send now, those with the fewest tries first.

        One that would wait longer than ``longest_wait`` seconds is due: the clock was set back.
        """
        rows = self.connection.execute(
            "SELECT id, content, recipients, tries FROM mails"
            " WHERE state = 'waiting' AND NOT (next_try > ? AND next_try <= ?)"
            " ORDER BY tries, id LIMIT 100",
            (now, now + longest_wait),
        )
        return [StoredMail(row[0], row[1], recipients_of(row[2]), row[3]) for row in rows]

    def next_try(self) -> float | None:
        """Return when the next mail is due, ``None`` where none waits."""
        (found,) = self._column("SELECT min(next_try) FROM mails WHERE state = 'waiting'")
        return None if found is None else float(found)

    def has_delivered_since(self, mail: StoredMail) -> bool:
        """Return whether any mail was delivered after this one was made."""
        (found,) = self._column(
            "SELECT EXISTS (SELECT 1 FROM mails WHERE state = 'delivered' AND finished >="
            " (SELECT created FROM mails WHERE id = ?))",
            (mail.id,),
        )
        return bool(found)

    def claim(self, mail: StoredMail) -> None:
        """Write to a mail before it is sent, to be sure that the outcome can be written too.

        Raises :exc:`sqlite3.Error`.
        """
        self._change("UPDATE mails SET error = error WHERE id = ?", (mail.id,))

    def finish(self, mail: StoredMail, state: str, error: str | None = None) -> None:
        """Note that a mail was ``delivered``, or has ``failed`` for good, and the answer."""
        with self.transaction():
            self.connection.execute(
                "UPDATE mails SET state = ?, tries = tries + 1, finished = ?, error = ?,"
                " recipients = CASE ? WHEN 'delivered' THEN '[]' ELSE recipients END WHERE id = ?",
                (state, time.time(), error, state, mail.id),
            )
            self.delete_counter(f"unconfirmed {mail.id}")

    def count_unconfirmed(self, mail: StoredMail, change: int) -> int:
        """Change, and return, the number of attempts after which a mail may have been delivered."""
        name = f"unconfirmed {mail.id}"
        if not change:
            return self.counter(name)
        with self.transaction():
            self.add_to_counter(name, max(change, -self.counter(name)))
            return self.counter(name)

    def await_reply(
        self, mail: StoredMail, until: float, error: str, recipients: tuple[str, ...]
    ) -> None:
        """Note when to send a mail again, and to whom, if the process ends before the reply."""
        self._change(
            "UPDATE mails SET next_try = ?, error = ?, recipients = ? WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
        )

    def postpone(
        self, mail: StoredMail, until: float, error: str, recipients: tuple[str, ...]
    ) -> None:
        """Note that ``recipients`` have not received a mail, why, and when to try again."""
        self._change(
            "UPDATE mails SET tries = tries + 1, next_try = ?, error = ?, recipients = ?"
            " WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
        )

    def postpone_all(self, until: float, error: str) -> None:
        """Note why no mail can be sent, and try none of them before ``until``."""
        self._change(
            "UPDATE mails SET next_try = ?, error = ? WHERE state = 'waiting' AND next_try < ?",
            (until, error, until),
        )

    def postpone_new(self) -> None:
        """Let new mails wait as long as those that were postponed."""
        self._change(
            "UPDATE mails SET next_try = earlier.next_try, error = earlier.error FROM"
            " (SELECT next_try, error FROM mails WHERE state = 'waiting' AND error IS NOT NULL"
            " ORDER BY next_try LIMIT 1) AS earlier WHERE state = 'waiting' AND mails.error IS NULL"
        )

    def _change(self, statement: str, values: tuple[object, ...] = ()) -> None:
        with self.transaction():
            self.connection.execute(statement, values)

    def _column(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        return [row[0] for row in self.connection.execute(query, values)]
