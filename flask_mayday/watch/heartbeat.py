"""Requests HEARTBEAT_URL once a minute while all is well; a service elsewhere notices a gap."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from .bounded_call import BoundedCall
from .fetching import fetch, reason_of

INTERVAL: Final = 60.0  # seconds
TIMEOUT: Final = 10.0  # seconds for each step of the connection
LONGEST: Final = 30.0  # seconds for the whole request: the checks of the machine wait for it

logger = logging.getLogger("flask_mayday.watch")


class Heartbeat:
    """The heartbeat to ``url``. The URL is a secret: it is in no message."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._fetch = BoundedCall("the request to HEARTBEAT_URL", fetch, LONGEST)
        self._clock = clock
        self._asked: float | None = None
        self._trouble = ""

    def beat(self) -> None:
        """Request the URL unless that was done in the last minute. Never raises."""
        now = self._clock()
        if self._asked is not None and now - self._asked < INTERVAL:
            return
        self._asked = now
        trouble = self._ask()
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                logger.warning("The request to HEARTBEAT_URL failed: %s", trouble)
            else:
                logger.info("HEARTBEAT_URL answers again")

    def _ask(self) -> str:
        try:
            response = self._fetch(self._url, TIMEOUT)
        except TimeoutError:  # of a step, or of the whole request
            return "no answer in time"
        except Exception as error:
            return reason_of(error, TIMEOUT)
        if 300 <= response.status < 400:
            return f"{response.line}: redirects are not followed, set the final address"
        return "" if response.status < 300 else response.line
