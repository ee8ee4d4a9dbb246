"""Make reports for the tests, and read reports from the spool."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from flask_mayday.courier.delivery import Delivery
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report
from flask_mayday.settings import Settings
from flask_mayday.spool import schema
from flask_mayday.spool.incoming import Incoming
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.stored_mail import NewMail


def a_report(message: str = "boom", **fields: object) -> Report:
    """Return a report with this message and otherwise only the required fields."""
    required = (field.name for field in dataclasses.fields(Report) if field.default is MISSING)
    empty: dict[str, Any] = dict.fromkeys(required, "")
    known = {"uuid": uuid.uuid4().hex, "time": time.time(), "fingerprint": "f", "process": 1}
    without = {"request_id": None, "request": None, "earlier": []}
    return Report(**{**empty, **known, **without, "message": message, **fields})


def build_report(record: logging.LogRecord, redactor: Redactor | None = None) -> Report:
    """Return the report of a log record, for an app without own code."""
    return ReportBuilder(redactor or Redactor([]), OwnCode("/nowhere")).build(record)


def a_new_mail(fingerprint: str = "f", **fields: Any) -> NewMail:
    """Return a mail about one error to one administrator."""
    known: dict[str, Any] = {
        "message_id": f"<{uuid.uuid4().hex}@example.com>",
        "kind": "report",
        "fingerprint": fingerprint,
        "created": 0.0,
        "count": 1,
        "subject": "boom",
        "content": b"x" * 10,
        "recipients": ("admin@example.com",),
    }
    return NewMail(**known | fields)


def a_mail(
    mailbox: Mailbox,
    fingerprint: str,
    state: str,
    created: float = 0.0,
    size: int = 10,
    count: int = 10,
) -> int:
    """Create a mail of ``size`` bytes for all reports of a fingerprint; return its id."""
    mail = a_new_mail(fingerprint, created=created, count=count, content=b"x" * size)
    number = mailbox.add_mail(mail)
    mailbox.assign(number, fingerprint, 1 << 60)
    mailbox.connection.execute("UPDATE mails SET state = ? WHERE id = ?", (state, number))
    return number


def a_delivery(mailbox: Mailbox, settings: Settings, **options: Any) -> Delivery:
    """Return a delivery loop with these settings. Nothing stops it unless ``options`` say so."""
    parts = {"mail": settings.mail, "reports": settings.reports, "app": settings.app}
    return Delivery(mailbox, **{"stopping": threading.Event(), **parts, **options})


def in_database(outbox: Outbox) -> list[str]:
    """Return the messages of the reports in the database, in their order."""
    if not outbox.path.exists():
        return []
    with closing(sqlite3.connect(outbox.path)) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'reports'").fetchone()
        query = "SELECT body FROM reports ORDER BY id"
        rows = connection.execute(query).fetchall() if made else []
    return [Report.from_json(body).message for (body,) in rows]


def in_files(outbox: Outbox) -> list[str]:
    """Return the messages of the reports in ``incoming/``, sorted."""
    return sorted(Report.from_json(one.body).message for one in outbox.incoming.read())


def query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement on the spool, as if all reports were in its database.

    No courier has to run, and nothing in the spool is changed.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        # Files first: the courier moves reports from the files to the database.
        waiting = Incoming(folder / "incoming").read()
        path = folder / "reports.db"
        if path.exists():
            with closing(sqlite3.connect(path, timeout=60)) as source:
                source.backup(copy)
        made = copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'reports'").fetchone()
        if not made and not waiting:
            return []
        schema.prepare(copy)
        copy.executemany(
            "INSERT OR IGNORE INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (one.uuid, one.time, one.fingerprint, one.request_id, one.body, one.mailable)
                for one in waiting
            ],
        )
        return copy.execute(statement).fetchall()
