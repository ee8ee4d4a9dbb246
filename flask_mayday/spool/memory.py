"""The memory backlog: reports that cannot be written to disk, kept until they can."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from .stored_report import StoredReport

MAX_BYTES: Final = 8 << 20  # of reports, in each process


class MemoryBacklog:
    """The oldest reports that could not be written, and how many more there were.

    ``max_bytes`` bounds the reports. What does not fit is counted and dropped.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._reports: deque[StoredReport] = deque()
        self._bytes = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, report: StoredReport) -> None:
        """Keep ``report``; if it does not fit, only count it."""
        with self._lock:
            if self._bytes + len(report.body) > self._max_bytes:
                self._dropped += 1
                return
            self._reports.append(report)
            self._bytes += len(report.body)

    def first(self) -> StoredReport | None:
        """Return the report that has waited longest, or ``None``."""
        with self._lock:
            return self._reports[0] if self._reports else None

    def remove(self, report: StoredReport) -> None:
        """Forget a report that has been written."""
        with self._lock:
            if report in self._reports:
                self._reports.remove(report)
                self._bytes -= len(report.body)

    def take_dropped(self) -> int:
        """Return how many reports were dropped since the last call."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def reset_in_child(self) -> None:
        """Prepare for use in a forked child.

        The reports stay with parent and child, and the database keeps them once: gunicorn's
        master has no courier that writes them later, but its workers have one. Only the parent
        reports how many were dropped.
        """
        self._lock = threading.Lock()
        self._dropped = 0
