"""How long to wait before the next try of a delivery that failed."""

from __future__ import annotations

import random
from typing import Final

MAX_BACKOFF: Final = 300.0  # seconds


def backoff(tries: int) -> float:
    """Return how long to wait, in seconds, after the ``tries``-th failure in a row.

    It doubles from one second to five minutes. The random part keeps several stacks from trying
    a server at the same moment when it comes back.
    """
    limit = min(MAX_BACKOFF, 2.0 ** min(tries - 1, 16))
    return limit * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
