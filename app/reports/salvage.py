"""Takes out of a broken database what can still be read, for the one that takes its place."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .queue import Queue
from .spool import Row, insert

# What nobody has been told of, from the first and from the last: between the two may be the pages
# that cannot be read. Without the mails too, whose table may be the broken one.
SELECTED: Final = "SELECT uuid, time, reports.fingerprint, request_id, body, mailable FROM reports"
UNTOLD: Final = tuple(
    f"{SELECTED} {rows} ORDER BY reports.id {order}"
    for rows in (
        "WHERE mail_id IS NULL",
        "JOIN mails ON mails.id = mail_id WHERE state = 'waiting'",
    )
    for order in ("ASC", "DESC")
)


def salvage(broken: Path, queue: Queue) -> int:
    """Copy the untold reports of a database that was set aside; return how many there were."""
    found = {row.uuid: row for row in _readable(broken)}
    with queue.transaction():
        for row in found.values():
            insert(queue.connection, row)
    return len(found)


def _readable(broken: Path) -> Iterator[Row]:
    for query in UNTOLD:
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(broken)) as connection,
        ):
            for values in connection.execute(query):
                yield Row(*values)
