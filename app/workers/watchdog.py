"""The watchdog: reports a request that outlasts REQUEST_TIMEOUT, then replaces the worker.

gunicorn's own timeout watches the worker's main loop, which goes on while a thread hangs.
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

from .. import request_id
from ..errors.pages import REPORTED
from ..records import ENVIRON, STACK
from .in_flight import Serving, Table

LOOK: Final = 0.25  # seconds between two looks
# nginx gives up a second after the request's time; the worker must live until it has.
UNTIL_REPLACED: Final = 2.0  # seconds after the request's time

logger = logging.getLogger(__name__)


def start(table: Table, timeout: float, before_end: Callable[[], None]) -> None:
    """Watch the requests in ``table``; ``timeout`` is what each may take, in seconds.

    ``before_end`` is called before the worker is replaced: nothing else is, at such an end.
    """
    arguments = (table, timeout, before_end)
    threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True).start()


def _watch(table: Table, timeout: float, before_end: Callable[[], None]) -> None:
    reported: set[str] = set()
    replace_at: float | None = None
    while replace_at is None or time.monotonic() < replace_at:
        time.sleep(LOOK)
        for serving in list(table.serving.values()):
            identifier = str(serving.environ[request_id.ENVIRON_KEY])
            if time.monotonic() - serving.since < timeout or identifier in reported:
                continue
            reported.add(identifier)
            report(serving, timeout)
            replace_at = replace_at or serving.since + timeout + UNTIL_REPLACED
    _wait_for_others(table, timeout)
    logger.warning("Worker %d ends: a request in it hangs", os.getpid())
    before_end()
    table.tell()
    # Not through SystemExit: that would wait for the thread that hangs. The master starts another
    # worker at once.
    os._exit(0)


def report(serving: Serving, timeout: float) -> None:
    """Log where the request hangs, as the request's own error."""
    serving.environ[REPORTED] = True
    frame = sys._current_frames().get(serving.thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    logger.error(
        "Request timed out after %g s: %s %s",
        timeout,
        serving.environ.get("REQUEST_METHOD"),
        serving.environ.get("PATH_INFO"),
        extra={ENVIRON: serving.environ, STACK: f"Stack of the request:\n{stack}".rstrip()},
    )


def _wait_for_others(table: Table, timeout: float) -> None:
    """Wait until the requests that are in time are done, or have hung as well."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        now = time.monotonic()
        if all(now - serving.since >= timeout for serving in list(table.serving.values())):
            return
        time.sleep(LOOK)
