"""The metrics of a spool, read at each scrape, by one of the processes that share it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..spool.figures import MAILS_DELIVERED, MAILS_REFUSED, POSTS_DELIVERED, SpoolFigures

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class SpoolCollector:
    """Collects the metrics of the spool that ``read`` reads; ``max_bytes`` is its quota.

    ``trouble`` returns why the spool cannot be written, or an empty string. While the spool cannot
    be read, ``mayday_spool_trouble`` is the only metric.
    """

    def __init__(
        self, read: Callable[[], SpoolFigures], trouble: Callable[[], str], max_bytes: int
    ) -> None:
        self.read = read
        self.trouble = trouble
        self.max_bytes = max_bytes
        self._lock = threading.Lock()  # for two scrapes at the same time

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus_client asks."""
        figures = None
        try:
            with self._lock:
                figures = self.read()
        except (sqlite3.Error, OSError):
            pass
        is_in_trouble = figures is None or bool(self.trouble())
        yield _gauge("spool_trouble", "1: the spool cannot be read or written.", is_in_trouble)
        if figures is not None:
            yield from _waiting(figures, time.time())
            yield from _groups(figures)
            yield from _counters(figures)
            yield _gauge("spool_bytes", "Size of the spool's folder.", figures.bytes)
            yield _gauge("spool_max_bytes", "SPOOL_MAX_BYTES, its largest size.", self.max_bytes)


def _waiting(figures: SpoolFigures, now: float) -> Iterator[Metric]:
    depth = _gauges(
        "spool_depth",
        "What waits: files that no courier has read, reports without a mail, mails, messages to "
        "the webhook.",
        "kind",
    )
    oldest = _gauges("spool_oldest_seconds", "For how long the oldest of them has waited.", "kind")
    for kind, waiting in figures.waiting.items():
        depth.add_metric([kind], waiting.count)
        since = now if waiting.since is None else waiting.since
        oldest.add_metric([kind], max(0.0, now - since))
    yield from (depth, oldest)


def _groups(figures: SpoolFigures) -> Iterator[Metric]:
    groups = _gauges("error_groups", "Error groups, by their state.", "state")
    errors = _gauges("error_group_errors", "Errors in the groups of each state.", "state")
    for state in figures.groups:
        groups.add_metric([state], figures.groups[state])
        errors.add_metric([state], figures.errors[state])
    yield from (groups, errors)


def _counters(figures: SpoolFigures) -> Iterator[Metric]:
    delivered = _counter("deliveries", "Mails and messages to the webhook that arrived.", "channel")
    delivered.add_metric(["mail"], figures.counters.get(MAILS_DELIVERED, 0))
    delivered.add_metric(["webhook"], figures.counters.get(POSTS_DELIVERED, 0))
    refused = _counter("refusals", "Mails that the mail server has refused for good.", "channel")
    refused.add_metric(["mail"], figures.counters.get(MAILS_REFUSED, 0))
    yield from (delivered, refused)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"mayday_{name}", text, float(value))


def _gauges(name: str, text: str, label: str) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"mayday_{name}", text, labels=[label])


def _counter(name: str, text: str, label: str) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"mayday_{name}", text, labels=[label])
