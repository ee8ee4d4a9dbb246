"""Shares the hourly cap of mails among the sources of errors: the routes, and the loggers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

RESERVE_DIVISOR: Final = 4  # a quarter of the cap is reserved


class FairBudget:
    """How many mails may still be made; ``made`` are those of the last hour, by source.

    A quarter of ``cap`` is reserved. Once only the reserve is left, a source gets another mail only
    if it has had fewer in the last hour than are left. So a source that floods leaves the reserve
    to the others, and the first error of another source is still mailed at once. All sources
    together never get more than ``cap``.
    """

    def __init__(self, cap: int, made: Mapping[str, int]) -> None:
        self._made = Counter(made)
        self._left = cap - self._made.total()
        self._reserve = cap // RESERVE_DIVISOR

    @property
    def is_used_up(self) -> bool:
        """Whether no source may have another mail."""
        return self._left <= 0

    def allows(self, source: str) -> bool:
        """Return whether a source may have another mail."""
        return self._left > self._reserve or self._made[source] < self._left

    def spend(self, source: str) -> None:
        """Count a mail of a source."""
        self._made[source] += 1
        self._left -= 1
