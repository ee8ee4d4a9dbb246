"""Copies the spool for a backup. Its couriers pause meanwhile, so that the copy is consistent."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from ..spool.damaged import DamagedDatabase
from ..spool.database import Database
from ..spool.ownership import make_folder, open_file
from .lease import Lease

HOLDER_TIMEOUT: Final = 60.0  # seconds in which a courier finishes the mail that it is sending
PAGES: Final = 1000  # of the database between two renewals of the lease
POLL_INTERVAL: Final = 0.05  # seconds


def copy_spool(spool: Path, target: Path) -> None:
    """Copy the database and the waiting reports of ``spool`` into the new folder ``target``.

    Meanwhile no mail is delivered; reports are recorded as usual. Raises :exc:`sqlite3.Error`
    if the database is damaged, and :exc:`OSError`.
    """
    (target / "incoming").mkdir(parents=True)
    with _paused_delivery(spool) as lease:
        with suppress(FileNotFoundError):
            for path in sorted((spool / "incoming").iterdir()):
                if path.is_file():
                    shutil.copy2(path, target / "incoming")
                    lease.renew()
        if not (spool / "reports.db").exists():
            return
        with (
            closing(sqlite3.connect(spool / "reports.db")) as source,
            closing(sqlite3.connect(target / "reports.db")) as copy,
        ):
            source.backup(copy, pages=PAGES, progress=lambda *_: lease.renew())


def keep_undelivered(replaced: Path, incoming: Path) -> int:
    """Put into ``incoming`` those reports of the database ``replaced`` that nobody has received.

    The courier takes them in from there, except those that it has already. Returns how many
    there are. Raises :exc:`OSError`.
    """
    if not replaced.exists():
        return 0
    with DamagedDatabase(replaced) as database:
        lines = [report.to_line() for _, report in database.reports() if report.mailable]
    if lines:
        path = incoming / f"{time.time_ns():020d}-replaced.lines"
        part = path.with_suffix(".part")
        part.write_bytes(b"".join(lines))
        part.rename(path)
    return len(lines)


@contextmanager
def _paused_delivery(spool: Path) -> Iterator[Lease]:
    """Hold the courier's lease. A courier that does not end its work is kept from writing."""
    make_folder(spool)
    holder = open_file(spool / "courier.lock")
    try:
        lease = Lease(spool)
        lease.take()
        try:
            if (
                not _locked_within(holder, HOLDER_TIMEOUT, lease)
                and (spool / "reports.db").exists()
            ):
                with closing(Database(spool / "reports.db")) as database:
                    database.take_over()
            yield lease
        finally:
            lease.release()
    finally:
        os.close(holder)


def _locked_within(descriptor: int, seconds: float, lease: Lease) -> bool:
    """Return whether a lock was released within ``seconds``, while ``lease`` is held."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        lease.renew()
        time.sleep(POLL_INTERVAL)
