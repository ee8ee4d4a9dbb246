"""Sets a broken database aside, and what can still be read of it into the one in its place."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from ..report.report import Report
from . import quota as room
from .database import Row, folder_lock, insert, readable, row_of
from .mailbox import Queue
from .outbox import Outbox

# How a database that was set aside is named, before the time: until it was read, and then.
BROKEN: Final = ".broken-"
READ: Final = ".corrupt-"
PARTS: Final = ("-wal", "-shm", "")  # the log first: SQLite would read it into a new database

# Where the ids are: each up to the first page that is broken. The index is that of the uuids.
IDS: Final = (
    "SELECT id FROM reports NOT INDEXED ORDER BY id",
    "SELECT id FROM reports NOT INDEXED ORDER BY id DESC",
    "SELECT id FROM reports INDEXED BY sqlite_autoindex_reports_1 ORDER BY uuid",
    "SELECT id FROM reports INDEXED BY sqlite_autoindex_reports_1 ORDER BY uuid DESC",
)
MAIL_IDS: Final = tuple(
    query.replace("reports", "mails").replace("uuid", "message_id") for query in IDS
)
REPORT: Final = "SELECT body, mailable, mail_id FROM reports WHERE id = ?"
STATE: Final = "SELECT state FROM mails WHERE id = ?"
DROPPED: Final = (
    "SELECT value FROM counters WHERE name = 'dropped' AND typeof(value) = 'integer' AND value > 0"
)
MAIL: Final = (
    "SELECT message_id, kind, fingerprint,"
    " CASE WHEN created BETWEEN 0 AND unixepoch() THEN created ELSE unixepoch() END,"
    " count, subject, content, recipients FROM mails"
    " WHERE id = ? AND state = 'waiting' AND typeof(count) = 'integer' AND typeof(content) = 'blob'"
)

logger = logging.getLogger(__name__)


def set_aside(database: Path) -> Path:
    """Move a database that cannot be read out of the way; return where it is now.

    Only for the courier, which holds its lock. The others see by the inode that they have to
    open, or make, another.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    with folder_lock(database.parent, fcntl.LOCK_EX):
        return _move(database, database.with_name(f"{database.name}{BROKEN}{moment}"))


def salvage(queue: Queue) -> None:
    """Copy what nobody was told of from databases that were set aside, and keep the last of them.

    Where that is broken off, or the new database has no room, the next call goes on.
    """
    for broken in _databases(queue.outbox, BROKEN):
        try:
            saved = _copy(broken, queue)
        except sqlite3.Error as error:
            logger.error("The reports of %s cannot be taken over yet: %s", broken, error)
            continue
        # A bad disk must not fill up with them.
        for earlier in _databases(queue.outbox, READ):
            for part in PARTS:
                Path(f"{earlier}{part}").unlink(missing_ok=True)
        logger.error(
            "The spool's database was broken and a new one is made, with the %d errors of the "
            "old one that nobody was told of and that can still be read; it is kept as %s",
            saved,
            _move(broken, broken.with_name(broken.name.replace(BROKEN, READ))),
        )


def purge(outbox: Outbox, before: float) -> None:
    """Delete what only somebody's look is for and is of before that time, in seconds.

    They are databases that were set aside, files that could not be read, and what writers began
    that were killed.
    """
    kept = outbox.folder.glob(f"{outbox.path.name}{READ}*")
    for file in (*kept, *outbox.incoming.leftovers()):
        with suppress(OSError):  # its writer has finished it, or it is a folder
            if file.stat().st_mtime < before:
                file.unlink()


def _copy(broken: Path, queue: Queue) -> int:
    """Copy what can be read; return how many errors that are."""
    with closing(sqlite3.connect(broken)) as connection, queue.transaction():
        connection.text_factory = readable
        saved: dict[int | None, list[str]] = {}
        for mail_id, row in _untold(connection):
            insert(queue.connection, row)
            saved.setdefault(mail_id, []).append(row.uuid)
        alone = sum(
            _take_mail(connection, queue, number, saved.get(number, []))
            for number in _numbers(connection, MAIL_IDS)
        )
        (dropped,) = _row(connection, DROPPED) or (0,)
        if dropped and room.first_time(queue, broken.name):
            room.note(queue, dropped)
    return sum(map(len, saved.values())) + alone


def _untold(connection: sqlite3.Connection) -> Iterator[tuple[int | None, Row]]:
    """Yield the reports with their mails, each looked for by itself.

    So a broken page costs those that are in it. Whose mail cannot be read is told of, perhaps
    once more.
    """
    for number in _numbers(connection, IDS):
        body, mailable, mail_id = _row(connection, REPORT, number) or (None, None, None)
        if (_row(connection, STATE, mail_id) or ("unknown",))[0] in ("delivered", "failed"):
            continue
        with suppress(ValueError, KeyError, TypeError):
            yield mail_id, row_of(Report.from_json(body), mailable=bool(mailable))


def _take_mail(connection: sqlite3.Connection, queue: Queue, number: int, uuids: list[str]) -> int:
    """Take over a mail that waits, and tells of these reports; return of how many others.

    As it is: somebody may have it, and is to know it again by its Message-ID. One that is
    visibly broken is made anew where all of its reports are there.
    """
    mail = _row(connection, MAIL, number)
    if mail is None or (mail[4] <= len(uuids) and not _is_text(mail[6])):
        return 0
    cursor = queue.connection.execute(
        "INSERT OR IGNORE INTO mails (message_id, kind, fingerprint, created, count, subject,"
        " content, recipients, next_try) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
        mail,
    )
    if not cursor.rowcount:
        return 0
    queue.connection.execute(
        "UPDATE reports SET mail_id = ? WHERE uuid IN (SELECT value FROM json_each(?))",
        (cursor.lastrowid, json.dumps(uuids)),
    )
    return max(0, int(mail[4]) - len(uuids))


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _numbers(connection: sqlite3.Connection, queries: tuple[str, ...]) -> list[int]:
    return sorted(set(chain.from_iterable(_ids(connection, query) for query in queries)))


def _ids(connection: sqlite3.Connection, query: str) -> Iterator[int]:
    with suppress(sqlite3.Error):
        yield from (number for (number,) in connection.execute(query))


def _row(connection: sqlite3.Connection, query: str, *values: object) -> tuple[Any, ...] | None:
    with suppress(sqlite3.Error):
        row: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
        return row
    return None


def _databases(outbox: Outbox, kind: str) -> list[Path]:
    found = sorted(outbox.folder.glob(f"{outbox.path.name}{kind}*"))
    return [path for path in found if not path.name.endswith(("-wal", "-shm"))]


def _move(database: Path, to: Path) -> Path:
    for part in PARTS:
        with suppress(FileNotFoundError):
            moved = Path(f"{database}{part}").rename(f"{to}{part}")
            with suppress(OSError):  # it is another user's
                os.utime(moved)  # it is kept from now on
    return to
