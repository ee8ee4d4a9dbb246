"""Makes reports from ERROR and CRITICAL records, and puts them into the spool."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..context.record_fields import UNREPORTED, environ_of, error_of
from ..context.request_id import REPORTED_KEY
from ..courier.courier import Courier
from ..report.builder import ReportBuilder
from ..report.fingerprint import hash_of_choice
from ..report.report import Report
from ..report.wording import counted
from ..settings import Settings
from ..spool.outbox import NotDurableError
from .duplicates import DuplicateFilter, signature_of

STDERR_INTERVAL: Final = 1.0  # seconds between two lines on stderr

BeforeReport = Callable[[Report], Report | None]
Fingerprint = Callable[[Report], str | None]

logger = logging.getLogger(__name__)


class ReportHandler(logging.Handler):
    """Puts a report into the spool for each record. Never raises, never waits for mail.

    ``before_report`` holds functions that may change a report, or drop it by returning ``None``.
    ``fingerprints`` holds functions that return a string by which to group it, or ``None``.
    """

    def __init__(self, settings: Settings, builder: ReportBuilder, courier: Courier) -> None:
        super().__init__(logging.ERROR)
        self.mailable = settings.mail.server is not None or settings.webhook.url is not None
        self.builder = builder
        self.courier = courier
        self.outbox = courier.outbox
        self.before_report: list[BeforeReport] = []
        self.fingerprints: list[Fingerprint] = []
        self.dropped = 0  # reports that a before_report function has dropped
        self.duplicates = DuplicateFilter()
        self._state = threading.local()
        self._wrote_to_stderr = -STDERR_INTERVAL  # seconds of time.monotonic

    def is_reported(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is an error that gets a report of its own."""
        return record.levelno >= self.level and not getattr(record, UNREPORTED, False)

    def handle(self, record: logging.LogRecord) -> bool:
        """Report ``record`` without the handler's lock: the spool's own lock has a timeout."""
        if not self.is_reported(record) or not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Report ``record``; if that fails, write why to stderr."""
        if getattr(self._state, "emitting", False):
            return  # an error of the reporter itself: it is in the log, and reporting it would loop
        self._state.emitting = True
        spool, what = self.outbox.folder, f"An error of logger {record.name}"
        try:
            self._report(record)
            _mark_reported(record)
        except NotDurableError as error:
            _mark_reported(record)
            self._write_to_stderr(
                f"{what} could not be written to the spool {spool} and is kept in memory: {error}"
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._write_to_stderr(f"{what} could not be written to the spool {spool}: {reason}")
        finally:
            self._state.emitting = False

    def report_of(self, record: logging.LogRecord) -> Report | None:
        """Return the report of ``record`` for an app's own tests, and store it nowhere.

        Returns ``None`` if a ``before_report`` function has dropped it.
        """
        _mark_reported(record)
        return self._changed(self.builder.build(record))

    def flush(self) -> None:
        """Write the reports in memory to the spool, as far as it can be written."""
        self.outbox.flush()

    def close(self) -> None:
        """Write the reports in memory to the spool; write to stderr how many are lost."""
        self.flush()
        if lost := len(self.outbox.backlog):
            self._wrote_to_stderr = -STDERR_INTERVAL
            self._write_to_stderr(
                f"{counted(lost, 'error')} could not be written to the spool {self.outbox.folder} "
                "before this process ended, and can be found in the log only"
            )
        super().close()

    def _report(self, record: logging.LogRecord) -> None:
        signature = signature_of(record)
        first = self.duplicates.first(signature)
        if first is not None:
            report = self._changed(self.builder.repeat(record, first))
            if report is not None:
                self.outbox.put(report, mailable=self.mailable)
            return
        full = self.builder.build(record)
        report = self._changed(full)
        if report is None:
            return
        self.outbox.put(report, mailable=self.mailable)
        self.duplicates.remember(signature, full)
        self.courier.wake()

    def _changed(self, report: Report) -> Report | None:
        """Return the report as ``before_report`` has changed it, or ``None`` if it was dropped."""
        report = self._grouped(report)
        for change in self.before_report:
            try:
                changed = change(report)
                if not isinstance(changed, Report | None):
                    raise TypeError(f"It returned {type(changed).__name__} and not a report")
            except Exception:
                logger.warning("A before_report function failed: report unchanged", exc_info=True)
                continue
            if changed is None:
                name = getattr(change, "__qualname__", repr(change))
                self.dropped += 1
                logger.warning(
                    "Report %s was dropped by %s (%d in this process so far)",
                    report.uuid,
                    name,
                    self.dropped,
                )
                return None
            report = changed
        return report

    def _grouped(self, report: Report) -> Report:
        """Return the report with the fingerprint that a function of the app has chosen, if any."""
        for choose in self.fingerprints:
            try:
                text = choose(report)
            except Exception:
                logger.warning("A fingerprint function failed: default used", exc_info=True)
                continue
            if isinstance(text, str) and text:
                former = (report.fingerprint, *report.former)
                return replace(report, fingerprint=hash_of_choice(text), former=former)
        return report

    def _write_to_stderr(self, text: str) -> None:
        now = time.monotonic()
        if now - self._wrote_to_stderr < STDERR_INTERVAL:
            return
        self._wrote_to_stderr = now
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{text}\n")


def _mark_reported(record: logging.LogRecord) -> None:
    """Store the reported exception in the environment of its request."""
    environ = environ_of(record)
    error = error_of(record)
    if error is not None and isinstance(environ, dict):
        environ[REPORTED_KEY] = error
