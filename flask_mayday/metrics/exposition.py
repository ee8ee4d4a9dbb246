"""The answer to a scrape: all metrics of a server in the OpenMetrics text format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import worker_files
from .instruments import instruments

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

PATH: Final = "/metrics"
CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def exposition_of_server() -> bytes:
    """Return the metrics of all processes of this server.

    Under gunicorn these are all metrics made with prometheus_client, including the app's own.
    """
    folder = worker_files.folder()
    return exposition(instruments().registry if folder is None else _WorkerFiles(folder))


def exposition(*collectors: Collector) -> bytes:
    """Return the metrics of ``collectors`` as text."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    text: bytes = generate_latest(registry)
    return text


class _WorkerFiles:
    """Collects the metrics in the files of all processes of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collect(self) -> Iterable[Any]:
        from prometheus_client.multiprocess import MultiProcessCollector

        with worker_files.reading(self.folder) as paths:
            metrics: Iterable[Any] = MultiProcessCollector.merge(paths, accumulate=True)
            return metrics
