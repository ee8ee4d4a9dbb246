"""The metrics that a process counts itself: requests, workers, and what happens to the log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD: Final = "other"  # a client can send any word as the method
NO_ROUTE: Final = "none"  # no route of the app has matched, as for most answers with 404
# Seconds; those of OpenTelemetry's http.server.request.duration.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Instruments:
    """The metrics of this process, in a registry of their own.

    Under gunicorn, prometheus_client stores their values in a file for each process. It decides
    that when it is imported, so make an object of this class only after
    :func:`.worker_files.prepare`.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mayday_http_requests",
            "Requests that were answered, without health checks.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "mayday_http_request_duration_seconds",
            "Time from the first call of the app to the end of the response.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "mayday_http_requests_in_flight",
            "Requests that are being served.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.workers_started = Counter(
            "mayday_workers_started", "Workers that were started.", registry=self.registry
        )
        self.workers_lost = Counter(
            "mayday_workers_lost",
            "Workers that were killed, crashed, failed to start or hung in a request.",
            registry=self.registry,
        )
        self.log_rotations = Counter(
            "mayday_log_rotations", "Rotations of the log.", registry=self.registry
        )
        self.log_failed_writes = Counter(
            "mayday_log_failed_writes",
            "Records that went to stderr because the log could not be written.",
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def count_request(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count a request that was answered with ``status`` after ``seconds``."""
        if method not in METHODS:
            method = OTHER_METHOD
        # Looking up the labels would take a third of the time.
        children = self._children.get((method, route, status))
        if children is None:
            children = self._children[method, route, status] = (
                self._requests.labels(method, route, status),
                self._durations.labels(method, route),
            )
        requests, durations = children
        requests.inc()
        durations.observe(seconds)


def safely(change: Callable[..., object], *arguments: object) -> None:
    """Call a function that counts; if it fails, say so on stderr, once in a process.

    A metric that cannot be counted, for example for want of file descriptors, must neither cost a
    visitor the page nor end the server.
    """
    global _has_failed
    try:
        change(*arguments)
    except Exception as error:
        if not _has_failed:
            _has_failed = True  # first: writing may fail too
            with suppress(OSError, ValueError):
                sys.stderr.write(f"Metrics are incomplete: {type(error).__name__}: {error}\n")


_has_failed = False


@cache
def instruments() -> Instruments:
    """Return the metrics of this process, made at the first call."""
    return Instruments()
