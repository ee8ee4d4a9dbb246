"""The loop that checks the site and reports outages."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..reporting.pipeline import Pipeline
from ..spool.database import Database
from ..spool.inventory import reported_requests
from ..spool.outages import Outage, record_outage
from ..spool.starts import STOP, server_events
from . import texts
from .alerts import SPOOL_TIMEOUT, Alerts
from .bounded_call import BoundedCall
from .conditions import RESTARTS, RESTARTS_WITHIN, starts_of_web
from .edge_log import EdgeLog
from .history import Change, History
from .site import TIMEOUT, Site, SiteCheck
from .state import ErrorPages, Phase, StateFile

INTERVAL: Final = 2.0  # seconds between two checks while the site is up
INTERVAL_FAILING: Final = 1.0  # … and while it is not
CHECK_TIMEOUT: Final = 3 * TIMEOUT  # seconds for a check: the site, and the app at a few addresses
REPORTED_WITHIN: Final = 15.0  # seconds in which the app itself reports a request that it lost
PAGES_WITHIN: Final = 60.0  # seconds in which error pages that belong to no outage are reported
MAX_LOOSE_PAGES: Final = 1000  # error pages that wait to be reported; more are only counted

logger = logging.getLogger("flask_mayday.watch")


class Watcher:
    """Checks ``site`` and reports outages through the spool of ``pipeline``."""

    def __init__(self, pipeline: Pipeline, site: Site | None = None) -> None:
        settings = pipeline.settings.watch
        self.pipeline = pipeline
        self.outbox = pipeline.courier.outbox
        self.file = StateFile(self.outbox.folder)
        self.state = self.file.load()
        self.history = History(self.state, time.time())
        self.alerts = Alerts(pipeline, self.state)
        self.site = site or Site(settings)
        self.edge = EdgeLog(settings.edge_log, self.state.offsets) if settings.edge_log else None
        self.last_check = SiteCheck(0.0)
        # By status, since the process started. Each starts at 0: Prometheus sees an increase only
        # in a series that exists.
        self.edge_pages = Counter({"502": 0, "503": 0, "504": 0})
        self._unrecorded: list[Outage] = []
        self._check = BoundedCall("checking the site", self.site.check, CHECK_TIMEOUT)
        self._diagnose = BoundedCall("the diagnosis", self.site.diagnose, CHECK_TIMEOUT)
        self._save = BoundedCall("saving the state", self.file.save, SPOOL_TIMEOUT)
        self._record = BoundedCall("recording outages", self._record_outages, SPOOL_TIMEOUT)
        self._reported_requests = BoundedCall("reading reports", reported_requests, SPOOL_TIMEOUT)

    def run(self, stopping: threading.Event, alive: Path | None = None) -> None:
        """Check the site until ``stopping`` is set; touch the file ``alive`` before each check."""
        while not stopping.is_set():
            begun = time.monotonic()
            if alive is not None:
                with suppress(OSError):  # the health check sees that the file is old
                    alive.touch()
            try:
                self.tick(time.time())
            except Exception:
                logger.exception("Checking the site failed; watch continues")
            interval = INTERVAL if self.history.is_up else INTERVAL_FAILING
            stopping.wait(max(0.1, begun + interval - time.monotonic()))

    def tick(self, now: float) -> None:
        """Check once at the time ``now``, in seconds since the epoch, and report what changed."""
        check = self._check_site(now)
        change = self.history.note(check, stopped=bool(check.trouble) and self._was_stopped(now))
        self.last_check = check
        if change is Change.DOWN:
            self.state.pages, self.state.counted_from = ErrorPages(), self.state.last_up
        self._read_pages(now, change)
        if change is Change.DOWN:
            self._report_outage(now)
        elif change is Change.BACK:
            self._report_recovery()
        elif self.state.phase is not Phase.DOWN and not check.trouble:
            self._report_loose_pages(now)
        self._try(self._save, self.state)  # before alerts are delivered: a kill must not lose them
        self.alerts.deliver()
        if self._unrecorded:
            self._try(self._record)
        self._try(self._save, self.state)

    def _check_site(self, now: float) -> SiteCheck:
        try:
            return self._check(now)
        except TimeoutError as error:
            return SiteCheck(now, str(error))

    def _was_stopped(self, now: float) -> bool:
        """Return whether an orderly stop of a server explains why the site does not answer.

        A stop before the site was last up did no harm. Nor does a stop explain the outage if the
        server has been started several times since.
        """
        since = self.state.last_up - INTERVAL
        try:
            events = server_events(self.outbox.folder, since)
            starts = [one for one in starts_of_web(self.outbox.folder, now) if one > since]
        except OSError:
            return False
        return any(event.kind == STOP for event in events) and len(starts) < RESTARTS - 1

    def _report_outage(self, now: float) -> None:
        state = self.state
        diagnosis = self._cause(now)
        self.alerts.add(texts.site_down(state.began, state.seen, diagnosis, state.pages))
        self._unrecorded.append(Outage(state.began, None, state.pages.count))

    def _cause(self, now: float) -> str:
        """Return in a sentence or two why the site is down, or an empty string if unknown."""
        found = []
        try:
            found.append(self._diagnose())
            starts = starts_of_web(self.outbox.folder, now)
        except (TimeoutError, OSError):
            starts = []
        if len(starts) > 1:
            found.append(f"{texts.keeps_restarting('web', len(starts), RESTARTS_WITHIN).what}.")
        return " ".join(filter(None, found))

    def _report_recovery(self) -> None:
        state = self.state
        self.alerts.add(texts.site_back(state.began, state.ended, state.pages))
        self._unrecorded.append(Outage(state.began, state.ended, state.pages.count))

    def _read_pages(self, now: float, change: Change | None) -> None:
        """Read nginx's error pages; during an outage and at its end, add them to it."""
        if self.edge is None:
            return
        loose = self.state.loose
        for one in self.edge.read(now):
            self.edge_pages[str(one["status"])] += 1
            # Those beyond the limit are one entry for each status.
            last = (
                page for page in loose[MAX_LOOSE_PAGES - 1 :] if page["status"] == one["status"]
            )
            if (same := next(last, None)) is None:
                loose.append({**one, "count": 1})
            else:
                same["count"] += 1
        if change is not None or self.state.phase is Phase.DOWN:
            self._move_to_outage()

    def _move_to_outage(self) -> None:
        """Add the pages that were sent since the site was last up to those of the outage."""
        since, loose = self.state.counted_from, self.state.loose
        for one in loose:
            if one["time"] >= since:
                add_page(self.state.pages, one)
        self.state.loose = [one for one in loose if one["time"] < since]

    def _report_loose_pages(self, now: float) -> None:
        """Report pages that belong to no outage, unless the app has reported their requests."""
        until, loose = now - REPORTED_WITHIN, self.state.loose
        old = [one for one in loose if one["time"] <= until]
        if not old or (len(old) < len(loose) and old[0]["time"] > now - PAGES_WITHIN):
            return  # more are coming: they are reported together
        self.state.loose = [one for one in loose if one["time"] > until]
        try:
            since = min(one["time"] for one in old) - 3600.0
            known = self._reported_requests(
                self.outbox.path, [one["request_id"] for one in old], since
            )
        except (sqlite3.Error, TimeoutError):
            known = set()
        pages = ErrorPages()
        for one in old:
            if one["request_id"] not in known:
                add_page(pages, one)
        if pages.count:
            self.alerts.add(texts.error_pages(pages))

    def _record_outages(self) -> None:
        database = Database(self.outbox.path, SPOOL_TIMEOUT)
        try:
            while self._unrecorded:
                record_outage(database, self._unrecorded[0])
                self._unrecorded.pop(0)
        finally:
            database.close()

    def _try(self, call: BoundedCall[Any], *arguments: Any) -> None:
        try:
            call(*arguments)
        except (OSError, sqlite3.Error) as error:  # TimeoutError is one
            logger.debug("%s: %s", call.name, error)


def add_page(pages: ErrorPages, one: dict[str, Any]) -> None:
    """Add one error page, or ``one["count"]`` of them, to ``pages``."""
    status = str(one["status"])
    pages.statuses[status] = pages.statuses.get(status, 0) + one["count"]
    if len(pages.requests) < texts.LISTED:
        pages.requests.append(one)


def volumes_of(pipeline: Pipeline) -> dict[str, Path]:
    """Return the folders of the volumes that are mounted here, by the volumes' names."""
    settings = pipeline.settings
    found = {"spool": settings.spool.folder, "logs": settings.log.folder}
    if settings.watch.edge_log is not None:
        found["edge-log"] = settings.watch.edge_log
    return found
