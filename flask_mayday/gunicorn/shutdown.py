"""In the master: gunicorn's stop, which leaves no worker behind of whose end nobody has heard."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from . import worker_deaths

REAPED_WITHIN: Final = 2.0  # seconds after SIGKILL
LOOK: Final = 0.01  # seconds between two looks

_stop = Arbiter.stop


def stop(arbiter: Any, graceful: bool = True) -> None:
    """Stop the workers, and reap those that had to be killed for it.

    gunicorn looks once, right after SIGKILL, when they are not dead yet.
    """
    worker_deaths.expect_killed()
    while True:
        with suppress(HaltServer):  # another worker could not boot; each is raised for once
            _stop(arbiter, graceful)
            break
    deadline = time.monotonic() + REAPED_WITHIN
    while arbiter.WORKERS and time.monotonic() < deadline:
        with suppress(HaltServer):
            arbiter.reap_workers()
        time.sleep(LOOK)
