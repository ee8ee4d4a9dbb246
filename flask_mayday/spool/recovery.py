"""Recovery from a damaged database: it is quarantined, and what SQLite can read is copied."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..report.wording import counted
from . import groups
from .damaged import DamagedDatabase
from .database import folder_lock
from .grouping import GroupedInserts
from .mailbox import Mailbox
from .outbox import Outbox

# The suffixes of a quarantined database, each followed by the time: the first until its rows have
# been copied, the second afterwards.
QUARANTINED: Final = ".broken-"
COPIED: Final = ".corrupt-"
PARTS: Final = ("-wal", "-shm", "")  # -wal first: SQLite would read it into a new database
MOVE_TIMEOUT: Final = 5.0  # seconds to wait for a process that is opening the database

logger = logging.getLogger(__name__)


def quarantine(database: Path) -> Path:
    """Rename a database that cannot be used, and return its new path.

    Only for the courier. Raises :exc:`OSError`, also if another process keeps opening it.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    deadline = time.monotonic() + MOVE_TIMEOUT
    while True:
        try:
            with folder_lock(database.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return _move(database, database.with_name(f"{database.name}{QUARANTINED}{moment}"))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def recover(mailbox: Mailbox) -> None:
    """Copy from quarantined databases what may not have been received; keep the latest of them.

    If a database cannot be copied now, for example because the disk is full, the next call tries
    again.
    """
    for damaged in _databases(mailbox.outbox, QUARANTINED):
        try:
            count = _copy(damaged, mailbox)
        except sqlite3.Error as error:
            logger.error("The reports in %s cannot be recovered yet: %s", damaged, error)
            continue
        for earlier in _databases(mailbox.outbox, COPIED):  # a bad disk must not fill up with them
            for part in PARTS:
                Path(f"{earlier}{part}").unlink(missing_ok=True)
        logger.error(
            "The spool's database could not be used and has been replaced. %s recovered; "
            "the old database is kept as %s",
            f"{counted(count, 'unmailed error report')} {'was' if count == 1 else 'were'}",
            _move(damaged, damaged.with_name(damaged.name.replace(QUARANTINED, COPIED))),
        )


def expire(outbox: Outbox, before: float) -> None:
    """Delete copied databases that were quarantined before ``before``, seconds since the epoch."""
    for path in outbox.folder.glob(f"{outbox.path.name}{COPIED}*"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def _copy(path: Path, mailbox: Mailbox) -> int:
    """Copy what can be read, once; return how many errors were copied."""
    with DamagedDatabase(path) as damaged, mailbox.transaction():
        if not mailbox.mark_once(path.name):  # a courier was killed before it could rename the file
            return 0
        known = groups.merge(mailbox, damaged.groups())
        for statement, values in damaged.other_rows():
            mailbox.connection.execute(statement, values)
        inserts = GroupedInserts(mailbox)
        in_mail: dict[int | None, list[str]] = {}
        for mail_id, report in damaged.reports():
            inserts.insert(report, known)
            in_mail.setdefault(mail_id, []).append(report.uuid)
        inserts.save()
        total = sum(map(len, in_mail.values()))
        for number, mail in damaged.waiting_mails():
            uuids = in_mail.get(number, [])
            try:
                mail_id = mailbox.add_mail(mail)
            except sqlite3.IntegrityError:
                continue  # a damaged copy of another mail; its reports get a new one
            mailbox.assign_uuids(mail_id, uuids)
            total += max(0, mail.count - len(uuids))  # their reports were evicted
        mailbox.add_to_counter("dropped", damaged.dropped())
    return total


def _databases(outbox: Outbox, kind: str) -> list[Path]:
    found = sorted(outbox.folder.glob(f"{outbox.path.name}{kind}*"))
    return [path for path in found if not path.name.endswith(("-wal", "-shm"))]


def _move(database: Path, to: Path) -> Path:
    for part in PARTS:
        with suppress(FileNotFoundError):
            moved = Path(f"{database}{part}").rename(f"{to}{part}")
            with suppress(OSError):  # it belongs to another user
                os.utime(moved)  # how long it is kept counts from now
    return to
