"""How long a request has waited for a thread, and how many requests have waited too long.

The proxy in front of the app sends the time at which it passed the request on. A request's time
limit counts from there, because that is when the visitor and the proxy began to wait.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HEADER: Final = "X-Mayday-Start"
SENT: Final = "HTTP_X_MAYDAY_START"  # the header in the WSGI environment
TIME: Final = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")  # seconds since the epoch, as nginx's $msec
MAX_SKEW: Final = 1.0  # seconds by which the proxy's clock may be ahead of ours
MAX_EXCESS: Final = 60.0  # seconds beyond the time limit; after a longer wait, a clock is wrong
PAUSE: Final = 60.0  # seconds without an overdue request, after which the count starts again

logger = logging.getLogger(__name__)
_has_warned = False


def seconds_waited(environ: WSGIEnvironment, timeout: float) -> float:
    """Return how many seconds the request of ``environ`` has waited for a thread.

    ``timeout`` is the time limit of a request, in seconds. Returns 0 if the header is missing or
    cannot be right, which is logged once.
    """
    sent = environ.get(SENT)
    return 0.0 if sent is None else seconds_since(sent, timeout)


def seconds_since(sent: str, timeout: float) -> float:
    """Return the seconds since the time in a header, or 0 if that cannot be right."""
    global _has_warned
    waited = time.time() - float(sent) if TIME.fullmatch(sent) else float("-inf")
    if -MAX_SKEW <= waited <= timeout + MAX_EXCESS:
        return max(0.0, waited)
    if not _has_warned:
        _has_warned = True
        logger.warning(
            "The header %s is %r, which cannot be the start of a request that may take %g s: it "
            "is ignored. Compare the clocks of the proxy and of the app",
            HEADER,
            sent[:40],
            timeout,
        )
    return 0.0


class OverdueRequests:
    """Counts the requests of this process whose time limit passed before a thread was free.

    ``queue_length`` returns how many connections the server has not accepted yet, or ``None``.
    """

    def __init__(self) -> None:
        self.queue_length: Callable[[], int | None] = lambda: None
        self._count = 0
        self._last = -PAUSE
        self._lock = threading.Lock()

    def add(self, timeout: float) -> str:
        """Count one more request, and return the message of its report."""
        with self._lock:
            now = time.monotonic()
            if now - self._last >= PAUSE:
                self._count = 0
            self._count += 1
            self._last = now
            count = self._count
        requests = "1 request" if count == 1 else f"{count} requests"
        text = f"Overloaded: {requests} waited longer than {timeout:g} s for a thread"
        queued = self.queue_length()
        return text if queued is None else f"{text}, and {queued} more are queued"


overdue_requests: Final = OverdueRequests()
