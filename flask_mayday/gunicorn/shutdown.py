"""gunicorn's stop, which also reaps, and so reports, workers killed at shutdown."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from . import worker_deaths

REAPED_WITHIN: Final = 2.0  # seconds after SIGKILL
POLL_INTERVAL: Final = 0.01  # seconds

_stop = Arbiter.stop


def stop(arbiter: Any, graceful: bool = True) -> None:
    """Stop the workers, and reap those that had to be killed.

    gunicorn itself reaps only once, right after SIGKILL, when they may still be alive.
    """
    worker_deaths.note_server_stop()
    while True:
        with suppress(HaltServer):  # a worker could not boot; raised once for each
            _stop(arbiter, graceful)
            break
    deadline = time.monotonic() + REAPED_WITHIN
    while arbiter.WORKERS and time.monotonic() < deadline:
        with suppress(HaltServer):
            arbiter.reap_workers()
        time.sleep(POLL_INTERVAL)
