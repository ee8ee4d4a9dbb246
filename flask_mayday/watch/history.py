"""Decides from the results of the checks when the site counts as down, and when as back."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from .site import SiteCheck
from .state import Phase, WatchState

FAILURES: Final = 2  # failed checks in a row, at least, before the site counts as down
# Seconds since the site was last up before it counts as down:
PATIENCE: Final = 9.0
PATIENCE_STOPPED: Final = 30.0  # after an orderly stop of the app, which may be a restart
# Seconds since this process has started, if the site has not answered it yet:
PATIENCE_STARTING: Final = 60.0
PATIENCE_NEW: Final = 120.0  # if it has never answered: a first start prepares the database
GOOD: Final = 3  # successful checks in a row before the site counts as back
STEADY: Final = 4.0  # seconds for which it must be up before it counts as back
FLAPPING: Final = 2  # recent outages; each further one doubles STEADY
RECENT: Final = 600.0  # seconds for which an outage counts as recent
STEADY_LIMIT: Final = 120.0  # seconds, however often STEADY is doubled
SEEN_LINES: Final = 8  # kept for the mail


class Change(Enum):
    """How a check has changed the state of the site."""

    DOWN = "down"
    BACK = "back"


class History:
    """What was seen of the site, in ``state``, which outlives the process.

    ==========  ===================================  ==========
    phase       what is seen                         next phase
    ==========  ===================================  ==========
    starting    an answer                            up
    starting    none for 60 s; a new site: 120 s     down
    up          no answer                            failing
    failing     an answer                            up
    failing     none, twice and for 9 s              down
    down        answers, three times and for 4 s     up
    ==========  ===================================  ==========
    """

    def __init__(
        self, state: WatchState, now: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = state
        self.clock = clock
        self._failures = 0
        self._good = 0
        self._good_since = 0.0
        self._up_at = clock()
        if state.phase is Phase.UP:
            state.phase = Phase.STARTING  # everything may just be starting with this process
        self._start_patience = PATIENCE_STARTING if state.was_up else PATIENCE_NEW
        if state.phase is Phase.STARTING:
            state.last_up = now
        elif state.phase is Phase.FAILING:
            self._up_at -= min(max(0.0, now - state.last_up), PATIENCE_STARTING)

    @property
    def is_up(self) -> bool:
        """Whether the site is up: the last check succeeded, and no outage is in progress."""
        return self.state.phase is Phase.UP

    def note(self, check: SiteCheck, *, stopped: bool = False) -> Change | None:
        """Record the result of a check; return the change of state, or ``None``.

        ``stopped`` says that the app was stopped in an orderly way and has not started since.
        """
        return self._note_trouble(check, stopped) if check.trouble else self._note_answer(check)

    def _note_trouble(self, check: SiteCheck, stopped: bool) -> Change | None:
        state = self.state
        self._good = 0
        self._failures += 1
        if self._failures == 1 and state.phase in (Phase.STARTING, Phase.UP):
            state.began, state.seen = check.time, []
        if state.phase is Phase.UP:
            state.phase = Phase.FAILING
        state.seen = [*state.seen, (check.time, check.trouble)][-SEEN_LINES:]
        if state.phase is Phase.DOWN or self._failures < FAILURES:
            return None
        patience = PATIENCE_STOPPED if stopped else PATIENCE
        if state.phase is Phase.STARTING:
            patience = self._start_patience
        if self.clock() - self._up_at < patience:
            return None
        state.phase = Phase.DOWN
        return Change.DOWN

    def _note_answer(self, check: SiteCheck) -> Change | None:
        self._failures = 0
        if self.state.phase is Phase.DOWN:
            return self._note_answer_while_down(check)
        self._note_up(check)
        return None

    def _note_answer_while_down(self, check: SiteCheck) -> Change | None:
        state = self.state
        self._good += 1
        if self._good == 1:
            self._good_since, state.ended = self.clock(), check.time
        if self._good < GOOD or self.clock() - self._good_since < self._steady(check.time):
            return None
        state.recent = [*self._recent(check.time), check.time]
        self._note_up(check)
        return Change.BACK

    def _note_up(self, check: SiteCheck) -> None:
        state = self.state
        state.phase, state.last_up, state.was_up = Phase.UP, check.time, True
        self._up_at = self.clock()

    def _steady(self, now: float) -> float:
        more = max(0, len(self._recent(now)) - FLAPPING)
        return min(STEADY * 2.0**more, STEADY_LIMIT)

    def _recent(self, now: float) -> list[float]:
        return [ended for ended in self.state.recent if 0 <= now - ended < RECENT]
