"""How long to wait before the next delivery, and before the next try of one that failed."""

from __future__ import annotations

import random
from typing import Final

MAX_BACKOFF: Final = 300.0  # seconds
MIN_PAUSE: Final = 0.1  # seconds between two deliveries, however fast reports come in
MAX_PAUSE: Final = 0.5
PAUSE_TO_WORK: Final = 4


def backoff(tries: int) -> float:
    """Return how long to wait, in seconds, after the ``tries``-th failure in a row.

    It doubles from one second to five minutes. The random part keeps several stacks from trying
    a server at the same moment when it comes back.
    """
    limit = min(MAX_BACKOFF, 2.0 ** min(tries - 1, 16))
    return limit * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


def pause_after(taken: float) -> float:
    """Return how long to wait, in seconds, after a delivery that took ``taken`` seconds.

    In a flood, that is four times as long, up to half a second: more reports at once cost less, and
    the threads that serve requests are interrupted less often.
    """
    return min(MAX_PAUSE, max(MIN_PAUSE, PAUSE_TO_WORK * taken))
