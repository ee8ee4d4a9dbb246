"""The mailbox: what the courier reads and writes in the database, from reports to sent mails."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Final

from .database import LOCK_TIMEOUT
from .grouping import GroupedInserts, catch_up
from .outbox import WAL_SHARE, Outbox
from .pending import PendingReports
from .stored_mail import NewMail, StoredMail, recipients_of
from .stored_report import StoredReport

BATCH_REPORTS: Final = 100  # in one transaction
BATCH_SHARE: Final = 1 / 32  # of SPOOL_MAX_BYTES, in one transaction


class Mailbox(PendingReports):
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
        """Move the reports of ``incoming/`` into the database, in batches.

        ``after_batch`` is called after each batch. Each report is counted in its error group.
        Raises :exc:`OSError` if no file can be read.
        """
        catch_up(self)
        for file in self.outbox.incoming.take():
            for batch in self._batches(file.reports):
                with self.transaction():
                    inserts = GroupedInserts(self)
                    inserts.look_up(batch)
                    for report in batch:
                        inserts.insert(report)
                    inserts.save()
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

    # Mails that are made

    def mails_by_source(self, since: float, now: float) -> Counter[str]:
        """Return how many mails made in that time count towards the hourly cap, by source."""
        rows = self.connection.execute(
            "SELECT coalesce(source, ''), count(*) FROM mails WHERE created > ? AND created <= ?"
            " AND kind NOT IN ('summary', 'notice', 'weekly', 'elsewhere') GROUP BY 1",
            (since, now),
        )
        return Counter(dict(rows.fetchall()))

    def last_mail_of_kind(self, kind: str, now: float) -> float:
        """Return when the last mail of a kind was made, up to ``now``; 0 if there is none."""
        (found,) = self.column(
            "SELECT max(created) FROM mails WHERE kind = ? AND created <= ?", (kind, now)
        )
        return float(found or 0)

    def add_mail(self, mail: NewMail) -> int:
        """Add a mail that is due at once; return its id."""
        cursor = self.connection.execute(
            "INSERT INTO mails (message_id, kind, fingerprint, created, count, subject, content,"
            " recipients, next_try, state, source) VALUES (:message_id, :kind, :fingerprint,"
            " :created, :count, :subject, :content, :recipients, :created, :state, :source)",
            asdict(mail) | {"recipients": json.dumps(mail.recipients)},
        )
        return int(cursor.lastrowid or 0)

    def refused_mails(self) -> tuple[int, list[str]]:
        """Return how many errors are in refused mails without a notice, and their request ids."""
        (count,) = self.column(
            "SELECT coalesce(sum(count), 0) FROM mails"
            " WHERE state = 'failed' AND kind != 'notice' AND notice_id IS NULL"
        )
        if not count:
            return 0, []  # the query below reads every report
        ids = self.column(
            "SELECT DISTINCT request_id FROM reports JOIN mails ON mails.id = mail_id"
            " WHERE request_id IS NOT NULL AND state = 'failed' AND kind != 'notice'"
            " AND notice_id IS NULL ORDER BY reports.id"
        )
        return int(count), ids

    def mention_refused(self, notice_id: int) -> None:
        """Record that a notice mentions every refused mail."""
        self.connection.execute(
            "UPDATE mails SET notice_id = ?"
            " WHERE state = 'failed' AND kind != 'notice' AND notice_id IS NULL",
            (notice_id,),
        )

    # Mails that are sent

    def due(self, now: float, longest_wait: float) -> list[StoredMail]:
        """Return the mails to send now, those with the fewest tries first.

        A mail that would wait longer than ``longest_wait`` seconds is due too: the clock must have
        been set back.
        """
        rows = self.connection.execute(
            "SELECT id, content, recipients, tries FROM mails"
            " WHERE state = 'waiting' AND NOT (next_try > ? AND next_try <= ?)"
            " ORDER BY tries, id LIMIT 100",
            (now, now + longest_wait),
        )
        return [StoredMail(row[0], row[1], recipients_of(row[2]), row[3]) for row in rows]

    def next_try(self) -> float | None:
        """Return when the next mail is due, or ``None`` if none waits."""
        (found,) = self.column("SELECT min(next_try) FROM mails WHERE state = 'waiting'")
        return None if found is None else float(found)

    def has_delivered_since(self, mail: StoredMail) -> bool:
        """Return whether this machine has delivered any mail since this one was made."""
        (found,) = self.column(
            "SELECT EXISTS (SELECT 1 FROM mails WHERE state = 'delivered'"
            " AND kind != 'elsewhere' AND finished >="
            " (SELECT created FROM mails WHERE id = ?))",
            (mail.id,),
        )
        return bool(found)

    def check_writable(self, mail: StoredMail) -> None:
        """Check before a mail is sent, by a write to its row, that the outcome can be recorded.

        Raises :exc:`sqlite3.Error`.
        """
        self._change("UPDATE mails SET error = error WHERE id = ?", (mail.id,))

    def finish(self, mail: StoredMail, state: str, error: str | None = None) -> None:
        """Record that a mail was ``delivered`` or has ``failed`` for good, and the reply."""
        with self.transaction():
            self.connection.execute(
                "UPDATE mails SET state = ?, tries = tries + 1, finished = ?, error = ?,"
                " recipients = CASE ? WHEN 'delivered' THEN '[]' ELSE recipients END WHERE id = ?",
                (state, time.time(), error, state, mail.id),
            )
            self.delete_counter(f"unconfirmed {mail.id}")
            if state == "delivered":
                self.add_to_counter("week_delivered", 1)
                self.add_to_counter("mails_delivered", 1)
            else:
                self.add_to_counter("mails_refused", 1)

    def count_unconfirmed(self, mail: StoredMail, change: int) -> int:
        """Add to the number of attempts that may have delivered a mail; return the number."""
        name = f"unconfirmed {mail.id}"
        if not change:
            return self.counter(name)
        with self.transaction():
            self.add_to_counter(name, max(change, -self.counter(name)))
            return self.counter(name)

    def await_reply(
        self, mail: StoredMail, until: float, error: str, recipients: tuple[str, ...]
    ) -> None:
        """Record when and to whom to send a mail again if the process ends before the reply."""
        self._change(
            "UPDATE mails SET next_try = ?, error = ?, recipients = ? WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
        )

    def postpone(
        self, mail: StoredMail, until: float, error: str, recipients: tuple[str, ...]
    ) -> None:
        """Record that ``recipients`` have not received a mail, why, and when to try again."""
        self._change(
            "UPDATE mails SET tries = tries + 1, next_try = ?, error = ?, recipients = ?"
            " WHERE id = ?",
            (until, error, json.dumps(recipients), mail.id),
        )

    def postpone_all(self, until: float, error: str) -> None:
        """Record why no mail can be sent, and try none of them before ``until``."""
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
