"""The reports that are in no mail yet, by error group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ..report.report import Report
from .database import Database
from .stored_mail import PendingErrors
from .stored_report import readable_report

KINDS: Final = (
    "WITH RECURSIVE kinds(fingerprint) AS ("
    " SELECT min(fingerprint) FROM reports WHERE mail_id IS NULL AND mailable"
    " UNION ALL SELECT (SELECT min(fingerprint) FROM reports WHERE mail_id IS NULL"
    " AND mailable AND fingerprint > kinds.fingerprint)"
    " FROM kinds WHERE kinds.fingerprint IS NOT NULL)"
)
KINDS_SINCE: Final = (
    "WITH kinds(fingerprint) AS (SELECT DISTINCT fingerprint FROM reports NOT INDEXED"
    " WHERE id > :after AND mail_id IS NULL AND mailable)"
)
PENDING: Final = (
    " SELECT kinds.fingerprint, time, (SELECT max(moment) FROM"
    " (SELECT max(created) AS moment FROM mails"
    " WHERE mails.fingerprint = kinds.fingerprint AND created <= :now"
    " UNION ALL SELECT opened FROM windows"
    " WHERE windows.fingerprint = kinds.fingerprint AND opened <= :now)),"
    " coalesce(source, ''), coalesce(back_unsaid, 0)"
    " FROM kinds JOIN reports ON reports.id ="
    " (SELECT min(id) FROM reports WHERE mail_id IS NULL AND mailable"
    " AND fingerprint = kinds.fingerprint)"
    " LEFT JOIN error_groups ON error_groups.fingerprint = kinds.fingerprint"
    " ORDER BY reports.id"
)


class PendingReports(Database):
    """The database, with the queries by which the courier decides what to mail."""

    def pending_errors(self, now: float, after: int = 0) -> list[PendingErrors]:
        """Return the fingerprints that have reports without a mail, oldest first.

        With ``after``, the id of a report, only those that have such a report after it. Mails made
        after ``now`` do not count: the clock must have been set back. Without ``after``, the query
        steps through the index from one fingerprint to the next, so ten thousand identical errors
        cost as much as one.
        """
        kinds = KINDS_SINCE if after else KINDS
        rows = self.connection.execute(kinds + PENDING, {"now": now, "after": after})
        return [PendingErrors(*row) for row in rows.fetchall()]

    def first_pending(
        self, fingerprint: str, after: float | None = None
    ) -> tuple[int, Report] | None:
        """Return the id of the oldest report that is in no mail, and the report with its traceback.

        If ``after``, a time, is given, the oldest report since then is preferred. Returns ``None``
        if an operator has just hidden them all.
        """
        row = self.connection.execute(
            "SELECT id, body, uuid, time, fingerprint, request_id FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ?"
            " ORDER BY time <= ?, id LIMIT 1",
            (fingerprint, 0.0 if after is None else after),
        ).fetchone()
        if row is None:
            return None
        report = self.with_traceback(readable_report(*row[1:]))
        return row[0], replace(report, fingerprint=fingerprint)

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
        return self.column(
            "SELECT DISTINCT request_id FROM reports WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ? AND request_id IS NOT NULL ORDER BY id LIMIT ?",
            (fingerprint, up_to, limit),
        )

    def last_mail(self, fingerprint: str, now: float) -> float | None:
        """Return when the last mail about a fingerprint was made, here or on another machine."""
        moments = self.column(
            "SELECT max(created) FROM mails WHERE fingerprint = ? AND created <= ? UNION ALL"
            " SELECT opened FROM windows WHERE fingerprint = ? AND opened <= ?",
            (fingerprint, now, fingerprint, now),
        )
        return max((float(one) for one in moments if one is not None), default=None)

    def source_of(self, fingerprint: str) -> str:
        """Return the route or logger of an error, empty if it is not known."""
        query = "SELECT source FROM error_groups WHERE fingerprint = ?"
        found = self.column(query, (fingerprint,))
        return str(found[0]) if found else ""

    def first_message_id(self, fingerprint: str) -> str | None:
        """Return the Message-ID of the first mail about a fingerprint: later ones refer to it."""
        found = self.column(
            "SELECT message_id FROM mails WHERE fingerprint = ? ORDER BY id LIMIT 1", (fingerprint,)
        )
        return found[0] if found else None

    def assign(self, mail_id: int, fingerprint: str, up_to: int) -> None:
        """Record that a mail reports or counts the reports of a fingerprint up to ``up_to``."""
        self.connection.execute(
            "UPDATE reports SET mail_id = ? WHERE mail_id IS NULL AND mailable"
            " AND fingerprint = ? AND id <= ?",
            (mail_id, fingerprint, up_to),
        )

    def assign_one(self, mail_id: int, report_id: int) -> None:
        """Record that a mail is about one report."""
        self.connection.execute("UPDATE reports SET mail_id = ? WHERE id = ?", (mail_id, report_id))

    def assign_first(self, mail_id: int, fingerprint: str, number: int) -> None:
        """Record that a mail counts the first ``number`` reports of a fingerprint."""
        self.connection.execute(
            "UPDATE reports SET mail_id = ? WHERE id IN (SELECT id FROM reports"
            " WHERE mail_id IS NULL AND mailable AND fingerprint = ? ORDER BY id LIMIT ?)",
            (mail_id, fingerprint, number),
        )

    def assign_uuids(self, mail_id: int, uuids: list[str]) -> None:
        """Record that a mail reports or counts the reports with these uuids."""
        self.connection.executemany(
            "UPDATE reports SET mail_id = ? WHERE uuid = ?", [(mail_id, uuid) for uuid in uuids]
        )

    def column(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return the first column of a query's rows."""
        return [row[0] for row in self.connection.execute(query, values)]
