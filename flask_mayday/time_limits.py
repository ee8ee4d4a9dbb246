"""The time limits of a request, all derived from REQUEST_TIMEOUT.

Their order decides what ends a request that takes too long, and so how much its report can say.
Lock waits and statements time out first, in the database, with an exception that names them. Next
is the watchdog, which reports the stack, then nginx, which has no details. Workers and containers
end last, after their requests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The limits, in seconds, if a request may take ``request`` seconds.

    compose.yaml and nginx/templates repeat the limits of the containers and of nginx as
    ``REQUEST_TIMEOUT`` plus a number. A test compares the two.
    """

    request: float

    @property
    def lock(self) -> float:
        """How long a statement may wait for a lock.

        If ``request`` is over 4 seconds, this is longer than PostgreSQL's default
        ``deadlock_timeout`` of one second, so that a deadlock is reported as a deadlock.
        """
        return min(2.0, self.request / 4)

    @property
    def pool(self) -> float:
        """How long a request may wait for a free connection to the database."""
        return min(3.0, self.request / 3)

    @property
    def statement(self) -> float:
        """How long a statement may take, so that there is time left to answer with a page."""
        return self.request - min(2.0, self.request / 5)

    @property
    def proxy(self) -> float:
        """How long nginx waits for the app, or for the next part of a response."""
        return self.request + 1

    @property
    def retire(self) -> float:
        """How long a thread may work on a request before its worker is replaced."""
        return self.request + 2

    @property
    def graceful(self) -> float:
        """How long a stopping worker may take to finish its requests."""
        return self.request + 2

    @property
    def heartbeat(self) -> float:
        """How long gunicorn waits for a sign of life from a worker's main loop."""
        return self.request + 5

    @property
    def proxy_stop(self) -> float:
        """How long a stopping nginx waits for its connections."""
        return self.request + 5

    @property
    def container(self) -> float:
        """How long a container may take to stop: its server, and the mail being sent."""
        return self.request + 15
