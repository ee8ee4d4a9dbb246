"""Error groups in the database, and the other names of their fingerprints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from .database import Database, insert_rows
from .error_group import ErrorGroup, State

COLUMNS: Final = tuple(field.name for field in fields(ErrorGroup))
SELECT: Final = " ".join(("SELECT", ", ".join(COLUMNS), "FROM error_groups"))
CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
INSERT: Final = " ".join(("INSERT INTO error_groups (", ", ".join(COLUMNS), ")"))
# Not REPLACE, which would empty the columns that a later version has added.
OR_UPDATE: Final = " ".join(("ON CONFLICT (fingerprint) DO UPDATE SET", CHANGES))
RELEASE: Final = "release"  # prefix of counters: when the courier of a release last started
BY_PREFIX: Final = (
    "WHERE substr(fingerprint, 1, length(:prefix)) = :prefix OR fingerprint IN"
    " (SELECT fingerprint FROM fingerprint_aliases"
    " WHERE substr(alias, 1, length(:prefix)) = :prefix)"
)


def load(database: Database, fingerprint: str) -> ErrorGroup | None:
    """Return the group with exactly this fingerprint, or ``None``."""
    row = database.connection.execute(f"{SELECT} WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return None if row is None else group_of(row)


def load_all(database: Database) -> list[ErrorGroup]:
    """Return all groups, the one with the latest error first."""
    rows = database.connection.execute(f"{SELECT} ORDER BY last_seen DESC, fingerprint")
    return [group_of(row) for row in rows]


def save(database: Database, groups: Iterable[ErrorGroup]) -> None:
    """Write groups, within a transaction."""
    # Not asdict(), which copies each value and takes half of the time.
    rows = [[getattr(group, name) for name in COLUMNS] for group in groups]
    insert_rows(database.connection, INSERT, rows, OR_UPDATE)


def matching(database: Database, prefix: str) -> list[ErrorGroup]:
    """Return the groups whose fingerprint, or another name of it, begins with ``prefix``."""
    rows = database.connection.execute(f"{SELECT} {BY_PREFIX}", {"prefix": prefix})
    return [group_of(row) for row in rows]


def canonical(database: Database, fingerprint: str, former: Iterable[str] = ()) -> str:
    """Return the fingerprint under which an error's group is kept.

    ``former`` are the fingerprints that earlier algorithms give the error, the latest first. If
    the error is known by one of them only, its group is kept and gets ``fingerprint`` as another
    name, so that it is not mailed as new. Two errors that were one group until now do not share
    it any more: the first to occur keeps it.
    """
    query = (
        "SELECT fingerprint FROM error_groups WHERE fingerprint = :name UNION ALL"
        " SELECT fingerprint FROM fingerprint_aliases WHERE alias = :name LIMIT 1"
    )
    for name in (fingerprint, *former):
        found = database.connection.execute(query, {"name": name}).fetchone()
        if found is None:
            continue
        if name == fingerprint:
            return str(found[0])
        if not _has_alias(database, found[0], fingerprint[:1]):
            database.connection.execute(
                "INSERT INTO fingerprint_aliases VALUES (?, ?)", (fingerprint, found[0])
            )
            return str(found[0])
    return fingerprint


def note_release(database: Database, release: str, now: float) -> None:
    """Record that a courier of a release has started at the time ``now``."""
    if release:
        with database.transaction():
            database.connection.execute(
                "INSERT OR REPLACE INTO counters VALUES (?, ?)", (f"{RELEASE} {release}", int(now))
            )


def latest_release(database: Database) -> str:
    """Return the release whose courier started last, empty if none is known."""
    row = database.connection.execute(
        "SELECT name FROM counters WHERE name GLOB ? ORDER BY value DESC LIMIT 1", (f"{RELEASE} *",)
    ).fetchone()
    return str(row[0]).partition(" ")[2] if row else ""


def count_mail(database: Database, fingerprint: str) -> None:
    """Record that one more mail reports or counts errors of a group."""
    database.connection.execute(
        "UPDATE error_groups SET mails = mails + 1, back_unsaid = 0 WHERE fingerprint = ?",
        (fingerprint,),
    )


def clear_back_unsaid(database: Database, fingerprint: str) -> None:
    """Record that a mail, of whichever machine, has said that an error came back."""
    database.connection.execute(
        "UPDATE error_groups SET back_unsaid = 0 WHERE fingerprint = ?", (fingerprint,)
    )


def merge(database: Database, damaged: Iterable[ErrorGroup]) -> frozenset[str]:
    """Add the groups of a damaged database, within a transaction; return their fingerprints."""
    merged = {}
    for group in damaged:
        known = load(database, group.fingerprint)
        if known is not None:
            group.count += known.count
            group.hidden += known.hidden
            group.mails += known.mails
            group.last_seen = max(group.last_seen, known.last_seen)
            if group.state is State.RESOLVED:
                group.state = State.BACK
        merged[group.fingerprint] = group
    save(database, merged.values())
    return frozenset(merged)


def _has_alias(database: Database, fingerprint: str, version: str) -> bool:
    query = "SELECT 1 FROM fingerprint_aliases WHERE fingerprint = ? AND substr(alias, 1, 1) = ?"
    return database.connection.execute(query, (fingerprint, version)).fetchone() is not None


def group_of(row: Iterable[object]) -> ErrorGroup:
    """Return the group in a row of ``SELECT``."""
    known: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    try:
        state = State(str(known["state"]))
    except ValueError:  # a later version's
        state = State.KNOWN
    unsaid = bool(known["back_unsaid"])
    return ErrorGroup(**{**known, "state": state, "back_unsaid": unsaid})
