"""The watchdog: replaces a worker in which a request hangs, or which can serve no more requests.

gunicorn's own timeout watches only the worker's main loop, which goes on while a thread hangs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from ..context.in_flight import RequestInProgress
from ..context.record_fields import ENVIRON, GROUP, STACK
from ..context.request_id import REPORTED_KEY, SESSION_USER_KEY, USER_KEY, claim
from ..report.request import ROUTE, path_of
from ..time_limits import TimeLimits
from .exhaustion import Resources
from .thread_worker import Worker

POLL_INTERVAL: Final = 0.25  # seconds
OTHERS_GRACE: Final = 5.0  # seconds for connections whose request is not in the table yet
SHOWN_WAIT: Final = 1.0  # seconds; a report mentions a wait in the queue from this length on

logger = logging.getLogger(__name__)


def start(worker: Worker, limits: TimeLimits, before_end: Callable[[], None]) -> None:
    """Start a thread that watches ``worker`` and its requests.

    ``before_end`` is called before the worker ends: it ends without Python's clean-up.
    """
    watchdog = Watchdog(worker, limits, before_end)
    threading.Thread(target=watchdog.run, name="watchdog", daemon=True).start()


class Watchdog:
    """Watches one worker, and ends it if necessary."""

    def __init__(self, worker: Worker, limits: TimeLimits, before_end: Callable[[], None]) -> None:
        self.worker = worker
        self.limits = limits
        self.before_end = before_end
        self.resources = Resources(worker.cfg.threads)
        worker.first_scarce_descriptor = self.resources.first_scarce_descriptor
        worker.replace = self.replace
        self._reason = ""  # why the worker ends
        self._deadline = 0.0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Watch the worker until it has to end, and end it."""
        while not self._retire_if_necessary():
            time.sleep(POLL_INTERVAL)
        logger.warning("Worker %d ends because %s", os.getpid(), self._reason)
        self.before_end()
        # SystemExit would wait for a thread that hangs. The master starts another worker at once.
        os._exit(0)

    def _retire_if_necessary(self) -> bool:
        """Report hung requests, retire the worker if necessary, and return whether it can end."""
        timed_out = [one for one in self._requests() if one.age >= self.limits.request]
        for request in timed_out:
            if not self.worker.in_flight.is_reported(request):
                report(request, self.limits.request)
                self.worker.in_flight.mark_reported(request)
        # Only the time in a thread counts: a worker is not replaced because requests were queued.
        hung = [one for one in timed_out if one.work >= self.limits.retire]
        if hung and self._begin_end("a request in it hangs"):
            self.worker.retire()
        elif exhausted := self.resources.exhausted():
            self.replace(exhausted, self.resources.kind)
        if not self._reason:
            return False
        others_are_done = len(hung) == len(timed_out) and self.worker.has_at_most(len(hung))
        return others_are_done or time.monotonic() > self._deadline

    def _requests(self) -> list[RequestInProgress]:
        return list(self.worker.in_flight.in_progress.values())

    def _begin_end(self, reason: str) -> bool:
        """Begin the worker's end, for ``reason``; return ``False`` if it has begun already."""
        with self._lock:
            if self._reason:
                return False
            self._reason = reason
            self._deadline = time.monotonic() + self.limits.retire + OTHERS_GRACE
            return True

    def replace(self, reason: str, kind: str) -> None:
        """Retire the worker, which finishes its other requests, and report the reason once.

        ``reason`` is the predicate of a sentence about the worker, ``kind`` the resource that it
        lacks. Callable from any thread.
        """
        if not self._begin_end(f"it {reason}"):
            return
        self.worker.retire()  # first, since the log may block
        self.resources.release_reserve()
        logger.critical(
            "Worker %d is replaced: it %s",
            os.getpid(),
            reason,
            extra={GROUP: f"worker exhausted: {kind}"},
        )


def report(request: RequestInProgress, timeout: float) -> None:
    """Log that ``request`` has timed out after ``timeout`` seconds, with the stack of its thread.

    Does nothing if the thread that serves the request has just reported why it fails.
    """
    environ = request.environ
    if not claim(environ, "watchdog"):
        return
    environ[REPORTED_KEY] = True
    if SESSION_USER_KEY in environ:
        # The session belongs to the other thread, so the report cannot read it.
        environ.setdefault(USER_KEY, environ[SESSION_USER_KEY])
    frame = sys._current_frames().get(request.thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    method, path = environ.get("REQUEST_METHOD"), path_of(environ)
    wait = f", {request.waited:.1f} s of them in the queue" if request.waited >= SHOWN_WAIT else ""
    logger.error(
        "Request timed out after %g s%s",
        timeout,
        wait,
        extra={
            ENVIRON: environ,
            STACK: f"Stack of {method} {path}:\n{stack}".rstrip(),
            GROUP: f"timed out: {method} {environ.get(ROUTE, path)}",
        },
    )
