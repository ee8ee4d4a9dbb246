"""Opens the spool for a command, or explains why that failed, and describes what is in it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click

from ..mail.times import moment
from ..spool.database import LOCK_TIMEOUT
from ..spool.incoming import Incoming
from ..spool.inventory import DeliveryStatus, Inventory
from ..spool.stored_report import StoredReport

# Causes and fixes.
OTHER_USER: Final = "it cannot be opened by this user: run the command as the server's user."
DAMAGED: Final = (
    "it is damaged. A running server replaces it within seconds and keeps it as "
    "reports.db.corrupt-…: try again, or start the server."
)
LOCKED: Final = "another process has locked it: try again in a moment."
REPLACED: Final = "its database is being replaced: try again in a moment."
TROUBLE: Final = {  # by SQLite's primary error code
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_CANTOPEN: OTHER_USER,
    sqlite3.SQLITE_PERM: OTHER_USER,
    sqlite3.SQLITE_READONLY: OTHER_USER,
    sqlite3.SQLITE_FULL: "its disk is full: free some space on it.",
}


class MissingSpoolError(click.ClickException):
    """There is no spool: the courier makes it when it processes the first error."""


@contextmanager
def open_spool(folder: Path) -> Iterator[tuple[Inventory, list[StoredReport]]]:
    """Open the spool in ``folder``; yield its inventory and the reports that are still in files.

    Raises ``ClickException`` with the cause and the fix if the spool cannot be read, and
    :exc:`MissingSpoolError` if there is none.
    """
    path = folder / "reports.db"
    try:
        waiting = Incoming(path.parent / "incoming").read()
        if not (waiting and path.parent.stat().st_uid == os.geteuid()):
            path.stat()  # raises if missing: root must not make a file that the server cannot write
        with closing(Inventory(path, LOCK_TIMEOUT)) as inventory:
            yield inventory, waiting
    except (FileNotFoundError, BlockingIOError) as error:
        if isinstance(error, BlockingIOError) or path.exists():
            raise click.ClickException(f"The spool {path}: {REPLACED}") from error
        raise MissingSpoolError(
            f"There is no spool at {path}: no error has been reported yet, or the server uses "
            "another SPOOL_DIR."
        ) from error
    except BrokenPipeError:
        raise  # the reader closed the pipe, as in `flask mayday reports list | head`
    except OSError as error:
        raise click.ClickException(f"The spool {path}: {OTHER_USER} ({error})") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what = TROUBLE.get(code, "it cannot be used.")
        raise click.ClickException(f"The spool {path}: {what} ({error})") from error


def wait_for_delivery(folder: Path, request_id: str, seconds: float) -> DeliveryStatus | None:
    """Return the delivery status of a request's error once it is final, or after ``seconds``.

    Returns ``None`` if no such error has been processed by then. Raises what :func:`open_spool`
    raises; for a spool that does not exist yet, it waits too.
    """
    deadline = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= deadline
        try:
            with open_spool(folder) as (inventory, _):
                found = inventory.delivery_of(request_id)
        except MissingSpoolError:
            if is_last:
                raise
        else:
            if is_last or (found and found.is_final):
                return found
        time.sleep(0.1)


def delivery_words(status: DeliveryStatus, server: str | None) -> str:
    """Return what has become of the mail about an error; ``server`` is ``MAIL_SERVER``.

    That may have been unset since the mail was sent.
    """
    server = server or "the mail server"
    reason = f": {status.error}" if status.error else ""
    if status.state == "elsewhere":
        return "left to another machine, whose mail has not been sent yet"
    if status.state == "delivered" and not status.subject:
        return f"included in a mail that another machine sent{reason}"
    if status.state == "delivered" and status.finished is not None:
        return (
            f"accepted by {server} at {moment(status.finished)}, "
            f"{max(0.0, status.finished - status.time):.1f} s after the error: {status.subject}"
        )
    if status.state == "failed":
        return f"refused by {server}{reason}"
    if status.state == "waiting":
        return f"not accepted by {server} yet{reason}"
    if status.state == "off":
        return "reported to the webhook only: MAIL_SERVER was not set"
    if status.hidden:
        return f"recorded, not mailed: the error is {status.hidden}"
    if status.mailable:
        return "held for a digest or summary: see REPORT_WINDOW and REPORT_MAILS_PER_HOUR"
    return "recorded, not mailed: MAIL_SERVER was not set"
