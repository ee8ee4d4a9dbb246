"""Counts each report into its error group when it is inserted, and hides what is not mailed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from ..report.fingerprint import mask_varying
from .database import ROWS_AT_ONCE, Database, insert_rows
from .error_group import IGNORED, ErrorGroup
from .groups import canonical, load, save
from .ignore_rules import IgnoreRule, count_hidden, ignore_rules
from .stored_report import Facts, StoredReport, readable_report

GROUPED: Final = "grouped"  # name of a counter: the id of the last report that is in a group
HIDE: Final = (
    "UPDATE reports SET mailable = 0, hidden = :reason WHERE mail_id IS NULL AND mailable"
    " AND (id = :id OR fingerprint = :fingerprint)"
)
CATCH_UP: Final = 200  # reports of an earlier version that one transaction counts
TITLE_LENGTH: Final = 200  # characters of the message
TEXT_LENGTH: Final = 500  # characters
INSERT_REPORTS: Final = (
    "INSERT INTO reports (uuid, time, fingerprint, request_id, body, mailable, hidden)"
)
STORED_UUIDS: Final = "SELECT uuid FROM reports WHERE uuid IN (SELECT value FROM json_each(?1))"
# The fingerprints that have a group, another name or a mail.
KNOWN_NAMES: Final = (
    "WITH names AS (SELECT value FROM json_each(?1))"
    " SELECT fingerprint FROM error_groups WHERE fingerprint IN names"
    " UNION ALL SELECT alias FROM fingerprint_aliases WHERE alias IN names"
    " UNION ALL SELECT fingerprint FROM mails WHERE fingerprint IN names"
)


class GroupedInserts:
    """Inserts reports and counts each into its group; use it within one transaction.

    Groups and rules are read once. Call :meth:`save` before the transaction ends: it writes the
    last of the reports too.

    Each statement releases the GIL, and in a busy worker it takes long to get it back from the
    threads that serve requests. So one statement reads or inserts many rows.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.connection
        self._groups: dict[str, ErrorGroup] = {}
        self._rules = ignore_rules(database)
        self._hidden: dict[int, list[float]] = defaultdict(list)  # times, by rule
        self._is_stored: dict[str, bool] = {}  # by uuid
        self._unknown: set[str] = set()  # fingerprints of which the database has nothing
        self._rows: list[tuple[object, ...]] = []

    def look_up(self, reports: Iterable[StoredReport]) -> None:
        """Look up at once what :meth:`insert` would otherwise look up for each of ``reports``."""
        uuids = [report.uuid for report in reports]
        stored = self._found(STORED_UUIDS, uuids)
        self._is_stored = dict.fromkeys(uuids, False) | dict.fromkeys(stored, True)
        names = {name for report in reports for name in _names(report.fingerprint, report.facts)}
        self._unknown = names.difference(self._found(KNOWN_NAMES, list(names)))

    def insert(self, report: StoredReport, counted: frozenset[str] = frozenset()) -> None:
        """Insert a report, unless it is there already, and hide it if it is muted or ignored.

        A report of a group in ``counted`` is counted already: it is neither counted nor hidden.
        """
        if report.uuid not in self._is_stored:
            self._is_stored[report.uuid] = bool(self._found(STORED_UUIDS, [report.uuid]))
        if self._is_stored[report.uuid]:
            return
        self._is_stored[report.uuid] = True
        fingerprint, hidden = report.fingerprint, None
        if counted:
            fingerprint = canonical(self._database, fingerprint)
        if fingerprint not in counted:
            fingerprint, hidden = self.count(fingerprint, report.time, report.facts)
        mailable = report.mailable and hidden is None
        known = (report.uuid, report.time, fingerprint, report.request_id, report.body)
        self._rows.append((*known, mailable, hidden))
        if len(self._rows) == ROWS_AT_ONCE:
            self._insert_rows()

    def count(self, fingerprint: str, time: float, facts: Facts) -> tuple[str, str | None]:
        """Count an error; return its group's fingerprint, and why it is hidden, if it is."""
        key = fingerprint
        if key not in self._groups and not self._unknown.issuperset(_names(key, facts)):
            key = canonical(self._database, fingerprint, map(_storable, facts.former))
            self._unknown.discard(fingerprint)  # it may be another name of that group now
        group = self._group(key, facts)
        rule = next((rule for rule in self._rules if rule.matches(facts)), None)
        hidden = group.occur(time, _storable(facts.release), ignored=rule is not None)
        if rule is not None and hidden == IGNORED:
            self._hidden[rule.id].append(time)
        return key, hidden

    def save(self, up_to: int | None = None) -> None:
        """Write the groups and the rules' counts, and up to which id reports are counted.

        ``None`` means all reports: up to the newest id, which may be lower than before, because
        SQLite gives the ids of deleted rows to new ones.
        """
        self._insert_rows()
        save(self._database, self._groups.values())
        for rule in self._rules:
            if times := self._hidden.get(rule.id):
                count_hidden(self._database, rule, len(times), max(times))
        self._connection.execute(
            "INSERT OR REPLACE INTO counters VALUES (?, ?)",
            (GROUPED, self._database.newest_report() if up_to is None else up_to),
        )

    def _group(self, key: str, facts: Facts) -> ErrorGroup:
        if key not in self._groups:
            is_unknown = key in self._unknown
            known = None if is_unknown else load(self._database, key)
            mails = 0 if known or is_unknown else _number_of_mails(self._database, key)
            self._groups[key] = known or _new_group(key, facts, mails)
        return self._groups[key]

    def _insert_rows(self) -> None:
        insert_rows(self._connection, INSERT_REPORTS, self._rows)
        self._rows.clear()

    def _found(self, query: str, values: list[str]) -> list[str]:
        rows = self._connection.execute(query, (json.dumps(values),)).fetchall()
        return [row[0] for row in rows]


def catch_up(database: Database) -> None:
    """Count the reports that an earlier version has inserted, a few in each transaction."""
    while (last := database.counter(GROUPED)) < database.newest_report():
        with database.transaction():
            inserts = GroupedInserts(database)
            rows = database.connection.execute(
                "SELECT id, mail_id, body, uuid, time, fingerprint, request_id FROM reports"
                " WHERE id > ? ORDER BY id LIMIT ?",
                (last, CATCH_UP),
            ).fetchall()
            for number, mail_id, *columns in rows:
                report = readable_report(*columns)
                fingerprint, hidden = inserts.count(columns[3], report.time, report)
                if hidden is not None and mail_id is None:
                    _hide(database, hidden, report_id=number)
                if fingerprint != columns[3]:
                    database.connection.execute(
                        "UPDATE reports SET fingerprint = ? WHERE id = ?", (fingerprint, number)
                    )
            inserts.save(rows[-1][0] if rows else None)


def hide_pending(database: Database, group: ErrorGroup, reason: str) -> None:
    """Hide the errors of a group that are in no mail yet."""
    number = _hide(database, reason, fingerprint=group.fingerprint)
    group.hidden += number
    group.muted_count += number


def hide_matching(database: Database, rule: IgnoreRule) -> int:
    """Hide the errors that are in no mail yet and match a rule; return how many."""
    counts: Counter[str] = Counter()
    rows = database.connection.execute(
        "SELECT id, body, uuid, time, fingerprint, request_id FROM reports"
        " WHERE mail_id IS NULL AND mailable"
    ).fetchall()
    last = 0.0
    for number, *columns in rows:
        if rule.matches(readable_report(*columns)):
            _hide(database, IGNORED, report_id=number)
            counts[columns[3]] += 1
            last = max(last, columns[2])
    for fingerprint, count in counts.items():
        database.connection.execute(
            "UPDATE error_groups SET hidden = hidden + ? WHERE fingerprint = ?",
            (count, fingerprint),
        )
    total = counts.total()
    count_hidden(database, rule, total, last)
    return total


def _hide(
    database: Database, reason: str, *, report_id: int | None = None, fingerprint: str | None = None
) -> int:
    known = {"reason": reason, "id": report_id, "fingerprint": fingerprint}
    return database.connection.execute(HIDE, known).rowcount


def _names(fingerprint: str, facts: Facts) -> list[str]:
    """Return the fingerprints by which the group of an error may be known."""
    return [fingerprint, *map(_storable, facts.former)]


def _number_of_mails(database: Database, fingerprint: str) -> int:
    """Return how many mails about an error an earlier version, which had no groups, has made."""
    query = "SELECT count(*) FROM mails WHERE fingerprint = ?"
    return int(database.connection.execute(query, (fingerprint,)).fetchone()[0])


def _new_group(key: str, facts: Facts, mails: int) -> ErrorGroup:
    first_line = facts.message.strip().split("\n", 1)[0]
    title = _storable(f"{facts.type}: {mask_varying(first_line[:TITLE_LENGTH])}".rstrip(": "))
    return ErrorGroup(key, title=title, source=_storable(facts.source), mails=mails)


def _storable(text: str) -> str:
    """Return text that the database can store: not too long, and without lone surrogates."""
    return text[:TEXT_LENGTH].encode("utf-8", "backslashreplace").decode()
