"""Checks the conditions of the machine, and sends the heartbeat while all is well."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ..courier.tasks import Task
from ..mail.times import moment
from ..spool.starts import expire_server_events
from . import texts
from .alerts import SPOOL_TIMEOUT
from .bounded_call import BoundedCall
from .certificate import certificate_conditions
from .conditions import (
    Condition,
    Conditions,
    mail_conditions,
    not_written,
    restart_conditions,
    spool_trouble,
    starts_of_nginx,
    starts_of_web,
    volume_conditions,
    why_mail_waits,
)
from .heartbeat import Heartbeat
from .watcher import Watcher, volumes_of

INTERVAL: Final = 5.0  # seconds
SLOW_INTERVAL: Final = 20.0  # of the checks that read the disk
CERTIFICATE_INTERVAL: Final = 3600.0
SPOOL_INTERVAL: Final = 15.0
CHECK_EXPIRES: Final = 30.0  # seconds after which the result of a check is out of date
WEEK: Final = 7 * 86_400.0
DATABASE_STARTS: Final = 20  # remembered

logger = logging.getLogger("flask_mayday.watch")


class MachineChecks:
    """Checks the machine's conditions every few seconds, and reports them through ``watcher``."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.pipeline = watcher.pipeline
        self.settings = watcher.pipeline.settings
        self.outbox = watcher.outbox
        self.conditions = Conditions(watcher.state)
        url = self.settings.watch.heartbeat_url
        self.heartbeat = Heartbeat(url) if url else None
        self.spool_trouble = ""
        self._database_starts: list[float] = []
        self._slow_checks = Task(SLOW_INTERVAL)
        self._certificate = Task(CERTIFICATE_INTERVAL)
        self._spool = Task(SPOOL_INTERVAL)
        self._probe = BoundedCall("a write to the spool", spool_trouble, SPOOL_TIMEOUT)
        self._why_mail_waits = BoundedCall("reading the spool", why_mail_waits, SPOOL_TIMEOUT)
        self._logged_trouble = ""

    def run(self, stopping: threading.Event) -> None:
        """Check the conditions every few seconds until ``stopping`` is set."""
        while not stopping.wait(INTERVAL):
            try:
                self.check(time.time())
            except Exception:
                logger.exception("Checking the machine's conditions failed; watch continues")

    def check(self, now: float) -> None:
        """Check what is due at the time ``now``, in seconds since the epoch."""
        if self._spool.begin_if_due(time.monotonic()):
            self._check_spool()
        for condition in self._conditions(now):  # one at a time: a later check may fail
            if alert := self.conditions.alert_to_send(condition, now):
                self.watcher.alerts.add(alert)
        if self.heartbeat is None:
            return
        trouble = self.trouble(now)
        if not trouble:
            self.heartbeat.beat()
        if trouble != self._logged_trouble:
            self._logged_trouble = trouble
            if trouble:
                logger.warning("No heartbeat is sent to HEARTBEAT_URL: %s", trouble)

    def trouble(self, now: float) -> str:
        """Return why no heartbeat may be sent, or an empty string."""
        check = self.watcher.last_check
        if self.settings.watch.checks_site:
            if not check.time:
                return "the site has not been checked yet"
            if now - check.time > CHECK_EXPIRES:
                return f"the site has not been checked since {moment(check.time)}"
            if check.trouble or not self.watcher.history.is_up:
                return f"the site does not answer: {check.trouble}".removesuffix(": ")
        if self.spool_trouble:
            return f"the spool {self.spool_trouble}"
        if self.settings.mail.server is None:
            return ""
        try:
            return self._why_mail_waits(self.outbox, now)
        except (sqlite3.Error, OSError) as error:
            return f"the spool cannot be read: {error}"

    def _check_spool(self) -> None:
        try:
            self.spool_trouble = self._probe(self.outbox)
        except TimeoutError as error:
            self.spool_trouble = not_written(str(error))

    def _conditions(self, now: float) -> Iterator[Condition]:
        trouble = self.spool_trouble
        yield Condition("spool", texts.spool_broken(trouble) if trouble else None)
        yield from self._restarts(now)
        if not self._slow_checks.begin_if_due(time.monotonic()):
            return
        yield from volume_conditions(volumes_of(self.pipeline))
        yield from mail_conditions(self.outbox, now)
        expire_server_events(self.outbox.folder, now - WEEK)
        if (tls := self.watcher.site.tls) and self._certificate.begin_if_due(time.monotonic()):
            yield from certificate_conditions(*tls, now)

    def _restarts(self, now: float) -> Iterator[Condition]:
        with suppress(OSError):
            # While the site is down, the alert about the outage names restarts as its cause.
            if self.watcher.history.is_up:
                back = max(self.watcher.state.recent, default=0.0)
                starts = [one for one in starts_of_web(self.outbox.folder, now) if one > back]
                yield from restart_conditions("web", starts, now)
            if self.settings.watch.edge_log is not None:
                starts = starts_of_nginx(self.settings.watch.edge_log)
                yield from restart_conditions("nginx", starts, now)
        ready = self.watcher.last_check.ready or {}
        started = ready.get("database_started")
        if isinstance(started, (int, float)) and started not in self._database_starts:
            self._database_starts = [*self._database_starts, float(started)][-DATABASE_STARTS:]
        # The first start may have been long ago: this process has not seen it as a restart.
        yield from restart_conditions("db", self._database_starts[1:], now)
