"""Reports as the tests make them, and as they find them in the spool."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import time
import uuid
from dataclasses import MISSING
from typing import Any

from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report
from flask_mayday.spool.mailbox import Queue
from flask_mayday.spool.outbox import Outbox


def a_report(message: str = "boom", **fields: object) -> Report:
    """Return a report with this message, empty but for what every report has."""
    required = (field.name for field in dataclasses.fields(Report) if field.default is MISSING)
    empty: dict[str, Any] = dict.fromkeys(required, "")
    known = {"uuid": uuid.uuid4().hex, "time": time.time(), "fingerprint": "f", "process": 1}
    without = {"request_id": None, "request": None, "earlier": []}
    return Report(**{**empty, **known, **without, "message": message, **fields})


def build_report(record: logging.LogRecord, redactor: Redactor | None = None) -> Report:
    """Return the report of a log record, of an app that has no code of its own."""
    return ReportBuilder(redactor or Redactor([]), OwnCode("/nowhere")).build(record)


def a_mail(
    queue: Queue,
    fingerprint: str,
    state: str,
    created: float = 0.0,
    size: int = 10,
    count: int = 10,
) -> None:
    """Make a mail of ``size`` bytes that tells of all reports of a fingerprint, ``count`` once."""
    number = queue.add_mail(
        message_id=f"<{uuid.uuid4().hex}@example.com>",
        kind="report",
        fingerprint=fingerprint,
        created=created,
        count=count,
        subject="boom",
        content=b"x" * size,
        recipients=("admin@example.com",),
    )
    queue.assign(number, fingerprint, 1 << 60)
    queue.connection.execute("UPDATE mails SET state = ? WHERE id = ?", (state, number))


def in_database(outbox: Outbox) -> list[str]:
    """Return the messages of the reports in the database, in their order."""
    connection = sqlite3.connect(outbox.path)
    try:
        rows = connection.execute("SELECT body FROM reports ORDER BY id").fetchall()
    finally:
        connection.close()
    return [Report.from_json(body).message for (body,) in rows]
