"""The courier's periodic tasks, each done at most once in its interval."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ..spool.inventory import STUCK

EXPIRY_INTERVAL: Final = 3600.0  # seconds between two deletions of what has expired
RECOVERY_INTERVAL: Final = 60.0  # seconds between two tries to copy from a damaged database


@dataclass
class Task:
    """Something to do at most once in ``interval`` seconds."""

    interval: float
    last: float | None = None

    def begin_if_due(self, now: float) -> bool:
        """Return whether to do it at the time ``now``; if so, the next interval begins."""
        if self.last is not None and 0 <= now - self.last < self.interval:
            return False
        self.last = now
        return True


class Tasks:
    """When each task was last done; kept when a delivery fails and is started again."""

    def __init__(self, window: float) -> None:
        self.recover = Task(RECOVERY_INTERVAL)
        self.expire = Task(EXPIRY_INTERVAL)
        self.log_unreadable = Task(STUCK)
        self.log_stuck = Task(STUCK)
        self.report_dropped = Task(window)
        self.progress = time.monotonic()  # when the last mail or delivery began
