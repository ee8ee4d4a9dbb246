"""Delivers alerts: through the spool, or directly if the spool does not work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

from ..context.record_fields import CONTEXT, GROUP, REQUESTS, UNREPORTED
from ..courier.backoff import backoff
from ..courier.smtp_session import Fate, SmtpSession
from ..courier.webhook import TIMEOUT, Outcome, post_message
from ..mail.draft import draft_report
from ..mail.message import Envelope, render
from ..report.builder import ReportBuilder
from ..report.report import Report
from ..reporting.pipeline import Pipeline
from ..spool.incoming import ReportFile
from ..spool.outbox import INCOMING_SHARE
from ..spool.stored_report import StoredReport
from .bounded_call import BoundedCall
from .state import WatchState

SPOOL_TIMEOUT: Final = 5.0  # seconds for the spool; after that, the alert is sent directly
SMTP_TIMEOUT: Final = 60.0  # seconds for a whole mail; MAIL_TIMEOUT is for each reply
MAX_UNSENT: Final = 50  # alerts that wait; beyond that, the oldest are dropped

logger = logging.getLogger("flask_mayday.watch")


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to the administrators: ``what`` is its headline, ``details`` named values.

    Alerts with the same ``group`` are identical: repeats within a window are only counted. The
    subject begins with ``kind``. ``requests`` are those concerned, as in
    :attr:`.Report.requests`.
    """

    what: str
    group: str
    details: Mapping[str, object] = field(default_factory=dict)
    requests: Sequence[Mapping[str, object]] = ()
    kind: str = "Alert"
    level: int = logging.CRITICAL


def report_of(alert: Alert, builder: ReportBuilder) -> tuple[Report, logging.LogRecord]:
    """Return the report of an alert, and the record that belongs in the log."""
    extra = {
        GROUP: alert.group,
        CONTEXT: dict(alert.details),
        REQUESTS: list(alert.requests),
        UNREPORTED: True,  # the record is only logged: the alert's report is made below
    }
    record = logger.makeRecord(
        logger.name, alert.level, __file__, 0, alert.what, (), None, "alert", extra
    )
    report = builder.build(record)
    return replace(report, type=alert.kind, where="", place="reported by watch"), record


class Alerts:
    """Alerts that are kept in ``state`` until they are delivered."""

    def __init__(self, pipeline: Pipeline, state: WatchState) -> None:
        self.pipeline = pipeline
        self.state = state
        self.trouble = ""  # why the spool cannot be written
        self._lock = threading.Lock()
        self._next_mail = 0.0  # the next direct attempt, in seconds of time.monotonic
        self._failures = 0
        self._put = BoundedCall("a write to the spool", self._put_into_spool, SPOOL_TIMEOUT)
        self._send = BoundedCall("sending an alert", self._send_directly, SMTP_TIMEOUT)

    def add(self, alert: Alert) -> None:
        """Log an alert and keep it for :meth:`deliver`. Callable from any thread."""
        report, record = report_of(alert, self.pipeline.reports.builder)
        setattr(record, REQUESTS, ())  # they would fill the log, and nginx's log has them
        logger.handle(record)
        with self._lock:  # the list is replaced and never changed: the state may be being saved
            self.state.unsent = [*self.state.unsent, report.to_json()][-MAX_UNSENT:]

    def deliver(self) -> None:
        """Deliver the waiting alerts, and keep those that cannot be delivered now. Never raises."""
        for text in self.state.unsent:
            try:
                report = Report.from_json(text)
            except (ValueError, TypeError):
                logger.error("A saved alert cannot be read and is dropped: %.1000r", text)
            else:
                if not self._deliver_one(report):
                    return
            with self._lock:
                self.state.unsent = [one for one in self.state.unsent if one != text]

    def _deliver_one(self, report: Report) -> bool:
        try:
            self._put(report)
        except Exception as error:
            self.trouble = str(error) or type(error).__name__
        else:
            self.trouble = ""
            return True
        settings = self.pipeline.settings
        is_off = settings.mail.server is None and settings.webhook.url is None
        if is_off or time.monotonic() < self._next_mail:
            return False
        try:
            self._send(report)
        except Exception as error:
            self._failures += 1
            self._next_mail = time.monotonic() + backoff(self._failures)
            logger.warning("An alert can be neither written to the spool nor sent: %s", error)
            return False
        self._failures = 0
        logger.warning("The spool cannot be written: an alert was sent directly")
        return True

    def _put_into_spool(self, report: Report) -> None:
        """Write a report to disk, never to memory only. Raises :exc:`OSError`."""
        outbox = self.pipeline.courier.outbox
        mailable = self.pipeline.reports.mailable
        limit = int(outbox.max_bytes * INCOMING_SHARE)
        with closing(ReportFile(outbox.incoming.folder, limit)) as file:
            file.append(StoredReport.of(report, mailable=mailable).to_line())
        self.pipeline.courier.wake()

    def _send_directly(self, report: Report) -> None:
        """Send an alert on each channel; raise :exc:`OSError` if none takes it."""
        settings = self.pipeline.settings
        mail, webhook = settings.mail, settings.webhook
        note = {"Sent": f"directly by watch, because the spool failed: {self.trouble}"}
        report = replace(report, context={**(report.context or {}), **note})
        draft = draft_report(report, settings.app)
        problems, is_sent = [], False
        if webhook.url:
            message = draft.to_post(report.uuid, "report", report.time)
            outcome, reason, _ = post_message(webhook, report.uuid, message, TIMEOUT)
            is_sent = outcome is Outcome.DELIVERED
            problems.append(reason)
        if mail.server:
            domain = mail.sender.rpartition("@")[2]
            message_id = f"<{report.uuid}.watch@{domain}>"
            envelope = Envelope(mail.sender, mail.admins, message_id, None, report.time)
            with SmtpSession(mail) as session:
                verdict = session.send(mail.admins, render(draft, envelope))
            is_sent = is_sent or verdict.fate in (Fate.DELIVERED, Fate.UNCONFIRMED)
            problems.append(verdict.words)
        if not is_sent:
            raise OSError("; ".join(filter(None, problems)))
