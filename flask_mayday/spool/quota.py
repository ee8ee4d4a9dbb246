"""Makes room in a spool that is nearly full, and counts the errors that were dropped for it."""

from __future__ import annotations

from typing import Final

from .mailbox import Queue
from .outbox import DATABASE_SHARE

# Parts of what the database may take: where room is made, and up to where.
NEARLY_FULL: Final = 0.9
ROOM_MADE: Final = 0.75

# What goes first, the oldest of each kind first, a few rows at a time. The mails of the last hour
# or window keep their rows: the hourly cap and the windows are derived from them.
TOLD: Final = (
    # Reports of mails that were delivered, and those that are not to be mailed.
    "DELETE FROM reports WHERE id IN (SELECT reports.id FROM reports LEFT JOIN mails"
    " ON mails.id = mail_id WHERE NOT mailable OR state = 'delivered' ORDER BY reports.id"
    " LIMIT 10) RETURNING 1",
    # Mails that were delivered.
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state = 'delivered'"
    " AND created < :recent ORDER BY id LIMIT 10) RETURNING 1",
    "UPDATE mails SET content = '' WHERE id IN (SELECT id FROM mails WHERE state = 'delivered'"
    " AND content != '' ORDER BY id LIMIT 10) RETURNING 1",
    # Reports of mails that wait: the mail tells of them.
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE mail_id IS NOT NULL"
    " ORDER BY id LIMIT 10) RETURNING 1",
)
# Then what nobody was told of; each statement returns how many errors a row stands for.
FAILED: Final = (  # mails that were refused for good
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state = 'failed'"
    " AND created < :recent ORDER BY id LIMIT 10) RETURNING count"
)
UNTOLD: Final = (
    FAILED,
    # Reports that have no mail yet.
    "DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE mail_id IS NULL"
    " ORDER BY id LIMIT 10) RETURNING 1",
    # Mails that wait.
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE state = 'waiting'"
    " ORDER BY id LIMIT 10) RETURNING count",
)


def make_room(queue: Queue, recent: float) -> None:
    """Delete the oldest where the database is nearly as large as it may be.

    ``recent`` is the time, in seconds since the epoch, from which on mails keep their rows.
    """
    share = queue.outbox.max_bytes * DATABASE_SHARE
    if _used(queue) < share * NEARLY_FULL:
        return
    for deletion in TOLD + UNTOLD:
        while _used(queue) > share * ROOM_MADE:
            if not _delete(queue, deletion, recent):
                break


def drop_failed(queue: Queue, before: float) -> None:
    """Delete the mails that were refused for good before that time, and count their errors."""
    queue.connection.execute(
        "DELETE FROM reports WHERE mail_id IN"
        " (SELECT id FROM mails WHERE state = 'failed' AND created < ?)",
        (before,),
    )
    while _delete(queue, FAILED, before):
        pass


def _used(queue: Queue) -> int:
    """Return the bytes of the database that hold anything."""
    pages, free, size = (
        int(queue.connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _delete(queue: Queue, deletion: str, recent: float) -> int:
    """Delete a few rows; return how many they were."""
    with queue.transaction():
        gone = queue.connection.execute(deletion, {"recent": recent}).fetchall()
        if deletion in UNTOLD:
            note(queue, sum(count for (count,) in gone))
    return len(gone)


def note(queue: Queue, count: int) -> None:
    """Note that so many errors were dropped that nobody was told of."""
    queue.connection.execute(
        "INSERT INTO counters VALUES ('dropped', ?)"
        " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (count,),
    )


def first_time(queue: Queue, mark: str) -> bool:
    """Tell whether this is the first transaction that asks for this mark."""
    cursor = queue.connection.execute("INSERT OR IGNORE INTO counters VALUES (?, 0)", (mark,))
    return cursor.rowcount == 1


def dropped(queue: Queue) -> int:
    """Return how many errors nobody has been told of, neither one by one nor as a number."""
    row = queue.connection.execute("SELECT value FROM counters WHERE name = 'dropped'").fetchone()
    return int(row[0]) if row else 0


def told(queue: Queue, count: int) -> None:
    """Note that the number ``count`` of dropped errors is in a report now."""
    queue.connection.execute(
        "UPDATE counters SET value = value - ? WHERE name = 'dropped'", (count,)
    )
