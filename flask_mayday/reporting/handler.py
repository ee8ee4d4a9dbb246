"""The logging handler that turns every ERROR and CRITICAL record into a report in the outbox."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import Final

from ..context.record_fields import UNREPORTED
from ..courier.courier import Courier
from ..report.builder import ReportBuilder
from ..settings import Settings
from ..spool.outbox import NotDurableError, Outbox
from .duplicates import Repeats, occurrence_of

COMPLAINT_INTERVAL: Final = 1.0  # seconds between two lines on stderr


class ReportHandler(logging.Handler):
    """Puts a report into the outbox for each record. Never raises, never waits for mail."""

    def __init__(
        self, settings: Settings, builder: ReportBuilder, outbox: Outbox, courier: Courier
    ) -> None:
        super().__init__(logging.ERROR)
        self.mailable = settings.mail.server is not None
        self.builder = builder
        self.outbox = outbox
        self.courier = courier
        self.repeats = Repeats()
        self._inside = threading.local()
        self._complained = -COMPLAINT_INTERVAL

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit without the handler's lock: the outbox has its own, which waits only so long."""
        if getattr(record, UNREPORTED, False) or not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Report the record; where that is not possible, say so on stderr."""
        if getattr(self._inside, "emitting", False):
            return  # an error of the reporter itself: the log has it, a report would be a loop
        self._inside.emitting = True
        spool, what = self.outbox.folder, f"An error of logger {record.name}"
        try:
            if (trouble := self._report(record)) is not None:
                self._complain(f"{what} waits in a file of the spool {spool}: {trouble}")
        except NotDurableError as error:
            self._complain(
                f"{what} could not be put into the spool {spool}, memory holds it: {error}"
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._complain(f"{what} could not be put into the spool {spool}: {reason}")
        finally:
            self._inside.emitting = False

    def flush(self) -> None:
        """Write what only memory holds, as far as the spool takes it."""
        self.outbox.flush()

    def close(self) -> None:
        """Write it for the last time, at the end of the process, and say what is lost with it."""
        self.flush()
        if lost := len(self.outbox.backlog):
            self._complained = -COMPLAINT_INTERVAL
            self._complain(
                f"{lost} errors are in the log only: they were in memory, and the spool "
                f"{self.outbox.folder} could not be written until this process ended"
            )
        super().close()

    def _report(self, record: logging.LogRecord) -> str | None:
        """Report the record; return why the spool's database did not take it, if so."""
        occurrence = occurrence_of(record)
        whole = self.repeats.whole(occurrence)
        if whole is not None:
            return self.outbox.put(self.builder.repeat(record, whole), mailable=self.mailable)
        report = self.builder.build(record)
        trouble = self.outbox.put(report, mailable=self.mailable)
        self.repeats.told(occurrence, report)
        self.courier.wake()
        return trouble

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._complained < COMPLAINT_INTERVAL:
            return
        self._complained = now
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{text}\n")
