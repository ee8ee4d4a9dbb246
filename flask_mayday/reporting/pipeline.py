"""The pipeline of one app: its log file, its spool and its courier."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..courier.courier import Courier
from ..log.formats import JsonFormatter, TextFormatter
from ..log.rotation import RotatingFile
from ..metrics.instruments import instruments, safely
from ..redaction.redactor import Redactor
from ..report.breadcrumbs import Breadcrumbs
from ..report.builder import ReportBuilder
from ..report.own_code import OwnCode
from ..report.report import Report
from ..settings import Settings
from ..spool.outbox import Outbox
from .handler import ReportHandler

# Couriers by spool: apps that share a spool share the thread that delivers from it.
_couriers: weakref.WeakValueDictionary[Path, Courier] = weakref.WeakValueDictionary()
_breadcrumbs = Breadcrumbs()


def never() -> bool:
    """Return ``False``, as the default of a condition that depends on an app."""
    return False


class Pipeline:
    """Writes the log, the reports and the mails of one app.

    Opens no file and starts no thread before the first record. ``root_path`` is the folder of the
    app's own code. ``is_off`` is called for each record: while it returns true, as in debug mode
    and in tests that do not collect reports, nothing is written or mailed.
    """

    def __init__(
        self,
        settings: Settings,
        redactor: Redactor,
        *,
        root_path: str = "",
        is_off: Callable[[], bool] = never,
    ) -> None:
        self.settings = settings
        self.redactor = redactor
        self.root_path = os.path.join(root_path, "") if root_path else ""
        self.is_off = is_off
        self.collected: list[Report] | None = None  # a list in flask_mayday.testing
        formatter = JsonFormatter if settings.log.format == "json" else TextFormatter
        self.formatter = formatter(redactor)
        self.log_file = RotatingFile(
            settings.log.path,
            max_bytes=settings.log.max_bytes,
            backup_count=settings.log.backup_count,
        )
        if settings.server.metrics:
            self.log_file.on_rotation = partial(safely, instruments().log_rotations.inc)
            self.log_file.on_failure = partial(safely, instruments().log_failed_writes.inc)
        self.log_file.setLevel(settings.log.level)
        self.log_file.setFormatter(self.formatter)
        user = object()  # stands for this pipeline, which its finalizer must not keep alive
        self.courier = _courier_of(settings, user)
        app, own_code = settings.app, OwnCode(root_path, settings.app.own_code)
        builder = ReportBuilder(
            redactor, own_code, app.name, app.environment, app.release, app.node
        )
        self.reports = ReportHandler(settings, builder, self.courier)
        finalizer = weakref.finalize(self, _close, self.log_file, self.reports, self.courier, user)
        finalizer.atexit = False

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record to the log and, if it is an error, report it."""
        if self.collected is not None:
            self.collect(record)
        elif not self.is_off():
            if record.levelno >= self.log_file.level:
                self.log_file.handle(record)
            if record.levelno >= self.reports.level:
                self.reports.handle(record)
        if record.levelno >= _breadcrumbs.level:
            _breadcrumbs.handle(record)

    def collect(self, record: logging.LogRecord) -> None:
        """Append the report of an error to ``collected``, for an app's own tests."""
        if self.collected is not None and self.reports.is_reported(record):
            report = self.reports.report_of(record)
            if report is not None:
                self.collected.append(report)

    def report(self, record: logging.LogRecord) -> None:
        """Log and report a record that the logging module would drop."""
        if self.collected is not None:
            self.collect(record)
        elif not self.is_off():
            self.log_file.handle(record)
            self.reports.handle(record)

    def ensure_delivery(self) -> None:
        """Start the courier's thread in this process if it is not running; cheap if it is."""
        if not self.is_off():
            self.courier.ensure_running()

    def is_own(self, record: logging.LogRecord) -> bool:
        """Return whether a record, or the traceback in it, comes from this app's own code."""
        if not self.root_path:
            return False
        if record.pathname.startswith(self.root_path):
            return True
        raised = record.exc_info
        trace = raised[2] if isinstance(raised, tuple) and len(raised) == 3 else None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(self.root_path):
                return True
            trace = trace.tb_next
        return False


def _courier_of(settings: Settings, user: object) -> Courier:
    """Return the courier of a spool, with ``user`` among those that keep it running."""
    folder = settings.spool.folder
    courier = _couriers.get(folder)
    groups = (settings.mail, settings.reports, settings.app, settings.webhook, settings.agreement)
    wanted = (settings.spool.max_bytes, *groups)
    if courier is not None and courier.settings == wanted:
        courier.users.add(user)
        if _couriers.get(folder) is courier:  # the garbage collector has not just stopped it
            return courier
    courier = Courier(
        Outbox(folder, settings.spool.max_bytes),
        mail=settings.mail,
        reports=settings.reports,
        app=settings.app,
        webhook=settings.webhook,
        agreement=settings.agreement,
    )
    courier.users.add(user)
    _couriers[folder] = courier
    return courier


def _close(log_file: RotatingFile, reports: ReportHandler, courier: Courier, user: object) -> None:
    """Close the files of a pipeline, and stop its courier unless another pipeline uses it."""
    log_file.close()
    reports.close()
    courier.users.discard(user)
    if courier.users:
        return
    if _couriers.get(courier.outbox.folder) is courier:
        # It cannot be started again: the next app with this spool gets another.
        _couriers.pop(courier.outbox.folder, None)
    courier.stop(0)
