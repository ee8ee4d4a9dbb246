"""Deletes rows of the database: those that have expired, and the oldest when it is nearly full."""

from __future__ import annotations

from typing import Final

from .database import Database
from .mailbox import Mailbox
from .outbox import DATABASE_SHARE
from .week import EVICTED

# Shares of what the database may take: where eviction begins, and where it ends.
NEARLY_FULL: Final = 0.9
EVICT_TO: Final = 0.75

HISTORY_KEPT: Final = 366 * 86_400.0  # seconds, longer than reports are kept

# The statements delete a few rows at a time, the oldest first, and are used in this order. Mails
# made since :recent that do not wait keep their rows, because the hourly cap and the windows are
# computed from them. First what has been mailed, or is counted in a mail:
MAILED: Final = (
    "DELETE FROM reports WHERE id IN (SELECT reports.id FROM reports LEFT JOIN mails"
    " ON mails.id = mail_id WHERE NOT mailable OR state IN ('delivered', 'off') ORDER BY reports.id"
    " LIMIT 10) RETURNING 0",
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state IN ('delivered', 'off')"
    " AND created < :recent ORDER BY id LIMIT 10) RETURNING 0",
    "UPDATE mails SET content = '' WHERE id IN (SELECT id FROM mails"
    " WHERE state IN ('delivered', 'off')"
    " AND content != '' ORDER BY id LIMIT 10) RETURNING 0",
    "DELETE FROM posts WHERE id IN (SELECT id FROM posts WHERE state = 'delivered'"
    " ORDER BY id LIMIT 10) RETURNING 0",
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE mail_id IS NOT NULL"
    " AND mail_id NOT IN (SELECT id FROM mails WHERE state = 'elsewhere')"
    " ORDER BY id LIMIT 10) RETURNING 0",
)
# Then the history of errors, and what the webhook has not received.
DELETE_GROUPS: Final = (
    "DELETE FROM error_groups WHERE fingerprint IN (SELECT fingerprint FROM error_groups"
    " WHERE state IN ('new', 'known') ORDER BY last_seen LIMIT 100) RETURNING count - week_count"
)
DELETE_POSTS: Final = (
    "DELETE FROM posts WHERE id IN (SELECT id FROM posts ORDER BY id LIMIT 10) RETURNING count"
)
# Then what nobody has received. Each row returns how many errors are lost with it: none if a notice
# has counted them.
DELETE_REFUSED: Final = (
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state = 'failed'"
    " AND created < :recent ORDER BY id LIMIT 10)"
    " RETURNING CASE WHEN notice_id IS NULL THEN count ELSE 0 END"
)
UNSENT: Final = (
    DELETE_REFUSED,
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE mail_id IS NULL"
    " OR mail_id IN (SELECT id FROM mails WHERE state = 'elsewhere')"
    " ORDER BY id LIMIT 10) RETURNING 1",
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state = 'waiting'"
    " ORDER BY id LIMIT 10) RETURNING count",
)

# Each statement with the counter of what is lost with its rows.
EVICTIONS: Final = (
    *((statement, "dropped") for statement in MAILED),
    (DELETE_GROUPS, EVICTED),
    (DELETE_POSTS, "unposted"),
    *((statement, "dropped") for statement in UNSENT),
)

# SQLite may give a new mail the id of a deleted one. It must not inherit the claim or the counter.
DELETE_CLAIMS: Final = "DELETE FROM claims WHERE mail_id NOT IN (SELECT id FROM mails)"
DELETE_COUNTERS: Final = (
    "DELETE FROM counters WHERE name GLOB 'unconfirmed *'"
    " AND CAST(substr(name, length('unconfirmed ') + 1) AS INTEGER) NOT IN"
    " (SELECT id FROM mails)"
)


def evict(mailbox: Mailbox, recent: float) -> None:
    """Delete the oldest rows if the database is nearly as large as it may be.

    Errors that are deleted without a mail are added to the counter ``dropped``. ``recent`` is a
    time in seconds since the epoch: mails made later keep their rows.
    """
    share = mailbox.outbox.max_bytes * DATABASE_SHARE
    if mailbox.used_bytes() < share * NEARLY_FULL:
        return
    for statement, counter in EVICTIONS:
        while mailbox.used_bytes() > share * EVICT_TO and _delete(
            mailbox, statement, recent, counter
        ):
            pass


def expire(database: Database, before: float, recent: float) -> int:
    """Delete what was delivered, or recorded while mail was off, before ``before``.

    Mails made since ``recent`` keep their rows without the text. Both are in seconds since the
    epoch. Returns how many reports were deleted.
    """
    with database.transaction():
        deleted = database.connection.execute(
            "DELETE FROM reports WHERE time < ? AND (NOT mailable OR mail_id IN"
            " (SELECT id FROM mails WHERE state IN ('delivered', 'off')))",
            (before,),
        ).rowcount
        database.connection.execute(
            "DELETE FROM mails WHERE created < ? AND state IN ('delivered', 'off')"
            " AND NOT EXISTS (SELECT 1 FROM reports WHERE mail_id = mails.id)",
            (min(before, recent),),
        )
        database.connection.execute(
            "UPDATE mails SET content = '' WHERE created < ? AND state IN ('delivered', 'off')",
            (before,),
        )
        database.connection.execute(DELETE_CLAIMS)
        database.connection.execute("DELETE FROM windows WHERE opened < ?", (min(before, recent),))
        _expire_history(database, before)
    return deleted


def expire_refused(database: Database, before: float) -> None:
    """Delete the mails that were refused for good and made before ``before``, and their reports."""
    with database.transaction():
        database.connection.execute(
            "DELETE FROM reports WHERE mail_id IN"
            " (SELECT id FROM mails WHERE state = 'failed' AND created < ?)",
            (before,),
        )
    while _delete(database, DELETE_REFUSED, before):
        pass


def _expire_history(database: Database, before: float) -> None:
    """Delete old error groups, posts and outages; call it within a transaction.

    The message in a group's title may hold personal data, so it goes with the reports.
    """
    for statement in (
        "UPDATE error_groups SET title = substr(title, 1, instr(title, ':') - 1)"
        " WHERE last_seen < :before AND instr(title, ':') > 1",
        "DELETE FROM error_groups WHERE last_seen < :long_before AND state IN ('new', 'known')",
        "DELETE FROM fingerprint_aliases"
        " WHERE fingerprint NOT IN (SELECT fingerprint FROM error_groups)",
        "DELETE FROM posts WHERE created < :before AND state = 'delivered'",
        "DELETE FROM outages WHERE ended < :long_before",
    ):
        database.connection.execute(
            statement, {"before": before, "long_before": before - HISTORY_KEPT}
        )


def _delete(database: Database, statement: str, recent: float, counter: str = "dropped") -> int:
    with database.transaction():
        lost = database.connection.execute(statement, {"recent": recent}).fetchall()
        database.connection.execute(DELETE_COUNTERS)
        database.connection.execute(DELETE_CLAIMS)
        if number := sum(count for (count,) in lost):
            database.add_to_counter(counter, number)
    return len(lost)
