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

from ..context.in_flight import Serving
from ..context.record_fields import ENVIRON, STACK
from ..context.request_id import REPORTED_KEY
from .thread_worker import Worker

LOOK: Final = 0.25  # seconds between two looks
# nginx gives up a second after the request's time; the worker must live until it has.
UNTIL_REPLACED: Final = 2.0  # seconds after the request's time
LEEWAY: Final = 5.0  # seconds for those who were served without a request in the table

logger = logging.getLogger(__name__)


def start(worker: Worker, timeout: float, before_end: Callable[[], None]) -> None:
    """Watch the requests of ``worker``; ``timeout`` is what each may take, in seconds.

    ``before_end`` is called before the worker is replaced: nothing else is, at such an end.
    """
    arguments = (worker, timeout, before_end)
    threading.Thread(target=_watch, args=arguments, name="watchdog", daemon=True).start()


def _watch(worker: Worker, timeout: float, before_end: Callable[[], None]) -> None:
    table = worker.in_flight
    give_up: float | None = None
    while True:
        time.sleep(LOOK)
        hung = [one for one in list(table.serving.values()) if _age(one) >= timeout]
        for serving in hung:
            if not table.is_told(serving):
                report(serving, timeout)
                table.tell(serving)
        ripe = [one for one in hung if _age(one) >= timeout + UNTIL_REPLACED]
        if ripe and give_up is None:
            # The others that are with this worker are answered first, and no more come to it.
            worker.retire()
            give_up = time.monotonic() + timeout + UNTIL_REPLACED + LEEWAY
        if give_up is None:
            continue
        others_are_done = len(ripe) == len(hung) and worker.serves_at_most(len(hung))
        if others_are_done or time.monotonic() > give_up:
            break
    logger.warning("Worker %d ends: a request in it hangs", os.getpid())
    before_end()
    # Not through SystemExit: that would wait for the thread that hangs. The master starts another
    # worker at once.
    os._exit(0)


def _age(serving: Serving) -> float:
    return time.monotonic() - serving.since


def report(serving: Serving, timeout: float) -> None:
    """Log where the request hangs, as the request's own error."""
    serving.environ[REPORTED_KEY] = True
    frame = sys._current_frames().get(serving.thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    logger.error(
        "Request timed out after %g s: %s %s",
        timeout,
        serving.environ.get("REQUEST_METHOD"),
        serving.environ.get("PATH_INFO"),
        extra={ENVIRON: serving.environ, STACK: f"Stack of the request:\n{stack}".rstrip()},
    )
