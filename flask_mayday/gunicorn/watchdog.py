"""The watchdog: reports a request that takes longer than REQUEST_TIMEOUT, and ends its worker.

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
from ..context.request_id import REPORTED_KEY, SESSION_USER_KEY, USER_KEY
from ..report.request import ROUTE
from .thread_worker import Worker

POLL_INTERVAL: Final = 0.25  # seconds
# nginx gives up a second after REQUEST_TIMEOUT. The worker must live until then.
REPLACE_AFTER: Final = 2.0  # seconds after REQUEST_TIMEOUT
OTHERS_GRACE: Final = 5.0  # seconds for connections whose request is not in the table yet

logger = logging.getLogger(__name__)


def start(worker: Worker, timeout: float, before_end: Callable[[], None]) -> None:
    """Start a thread that watches the requests of ``worker``.

    Each may take ``timeout`` seconds. ``before_end`` is called before the worker ends: it ends
    without Python's clean-up.
    """
    arguments = (worker, timeout, before_end)
    threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True).start()


def _watch(worker: Worker, timeout: float, before_end: Callable[[], None]) -> None:
    table = worker.in_flight
    deadline: float | None = None
    while True:
        time.sleep(POLL_INTERVAL)
        hung = [one for one in list(table.in_progress.values()) if _age(one) >= timeout]
        for request in hung:
            if not table.is_reported(request):
                report(request, timeout)
                table.mark_reported(request)
        overdue = [one for one in hung if _age(one) >= timeout + REPLACE_AFTER]
        if overdue and deadline is None:
            # Its other requests are answered first, and it accepts no more.
            worker.retire()
            deadline = time.monotonic() + timeout + REPLACE_AFTER + OTHERS_GRACE
        if deadline is None:
            continue
        others_are_done = len(overdue) == len(hung) and worker.has_at_most(len(hung))
        if others_are_done or time.monotonic() > deadline:
            break
    logger.warning("Worker %d ends because a request in it hangs", os.getpid())
    before_end()
    # SystemExit would wait for the thread that hangs. The master starts another worker at once.
    os._exit(0)


def _age(request: RequestInProgress) -> float:
    return time.monotonic() - request.since


def report(request: RequestInProgress, timeout: float) -> None:
    """Log an error of ``request`` with the stack at which it hangs after ``timeout`` seconds."""
    environ = request.environ
    environ[REPORTED_KEY] = True
    if SESSION_USER_KEY in environ:
        # The session belongs to the other thread, so that the report cannot look there.
        environ.setdefault(USER_KEY, environ[SESSION_USER_KEY])
    frame = sys._current_frames().get(request.thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    method, path = environ.get("REQUEST_METHOD"), environ.get("PATH_INFO")
    logger.error(
        "Request timed out after %g s",
        timeout,
        extra={
            ENVIRON: environ,
            STACK: f"Stack of {method} {path}:\n{stack}".rstrip(),
            GROUP: f"timed out: {method} {environ.get(ROUTE, path)}",
        },
    )
