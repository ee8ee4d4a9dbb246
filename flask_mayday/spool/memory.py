"""Reports that the disk would not take: kept in memory, within bounds, until it does."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from .database import Row

BYTES_MAXIMUM: Final = 8 << 20  # of reports, in each process


class Backlog:
    """The newest reports that could not be written, and how many there was no room for."""

    def __init__(self, bytes_maximum: int = BYTES_MAXIMUM) -> None:
        self.lock = threading.Lock()
        self._bytes_maximum = bytes_maximum
        self._rows: deque[Row] = deque()
        self._bytes = 0
        self._lost = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Keep a report behind those that wait already; where there is no room, only count it."""
        with self.lock:
            if self._bytes + len(row.body) > self._bytes_maximum:
                self._lost += 1
                return
            self._rows.append(row)
            self._bytes += len(row.body)

    def first(self) -> Row | None:
        """Return the report that has waited longest."""
        with self.lock:
            return self._rows[0] if self._rows else None

    def written(self, row: Row) -> None:
        """Forget a report that is in the spool now."""
        with self.lock:
            if row in self._rows:
                self._rows.remove(row)
                self._bytes -= len(row.body)

    def take_lost(self) -> int:
        """Return how many reports there was no room for since the last call."""
        with self.lock:
            lost, self._lost = self._lost, 0
            return lost

    def forget_lost(self) -> None:
        """Leave the number to the parent, in a forked child.

        The reports stay with both, and are kept once. gunicorn's master has no courier to write
        them later; the workers that it forks have.
        """
        self._lost = 0
