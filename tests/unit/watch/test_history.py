"""When the site counts as down and as back: each row of the table, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from flask_mayday.watch.history import (
    PATIENCE,
    PATIENCE_NEW,
    PATIENCE_STARTING,
    PATIENCE_STOPPED,
    STEADY,
    Change,
    History,
)
from flask_mayday.watch.site import SiteCheck
from flask_mayday.watch.state import Phase, WatchState

START = 1_767_225_600.0
DOWN, BACK = Change.DOWN, Change.BACK


@dataclass
class Simulation:
    """A history on a simulated clock, which looks once a second."""

    state: WatchState = field(default_factory=WatchState)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.history = History(self.state, START + self.now, lambda: self.now)

    def check(self, trouble: str = "", *, stopped: bool = False) -> Change | None:
        self.now += 1
        return self.history.note(SiteCheck(START + self.now, trouble), stopped=stopped)

    def seconds_until(self, change: Change, trouble: str = "", *, stopped: bool = False) -> int:
        """Check until something changes; return how many seconds that took."""
        for second in range(1, 500):
            found = self.check(trouble, stopped=stopped)
            if found is not None:
                assert found is change
                return second
        pytest.fail("nothing changed")


def site_up() -> Simulation:
    simulation = Simulation()
    assert simulation.check() is None
    assert simulation.state.phase is Phase.UP
    return simulation


def down() -> Simulation:
    simulation = site_up()
    simulation.seconds_until(DOWN, "502")
    return simulation


def test_a_site_that_fails_is_down_after_nine_seconds() -> None:
    simulation = site_up()
    assert simulation.seconds_until(DOWN, "502") == PATIENCE
    assert simulation.state.phase is Phase.DOWN
    assert simulation.state.began == START + 2
    assert simulation.state.seen[-1] == (START + simulation.now, "502")


def test_a_single_failure_is_never_an_outage() -> None:
    simulation = site_up()
    simulation.now += PATIENCE
    assert simulation.check("no answer") is None
    assert simulation.check("no answer") is DOWN


def test_an_answer_resets_the_failures() -> None:
    simulation = site_up()
    for _ in range(20):
        for _ in range(int(PATIENCE) - 1):
            assert simulation.check("502") is None
        assert simulation.check() is None
        assert simulation.state.phase is Phase.UP


def test_after_an_orderly_stop_the_site_has_more_time() -> None:
    assert site_up().seconds_until(DOWN, "502", stopped=True) == PATIENCE_STOPPED


def test_a_site_that_has_never_answered_has_the_most_time() -> None:
    assert Simulation().seconds_until(DOWN, "502") == PATIENCE_NEW
    known = Simulation(WatchState(last_up=START - 100, was_up=True))
    assert known.seconds_until(DOWN, "502") == PATIENCE_STARTING
    restarted = Simulation(Simulation().state)
    assert restarted.seconds_until(DOWN, "502") == PATIENCE_NEW


def test_a_site_that_is_down_is_reported_once() -> None:
    simulation = down()
    assert {simulation.check("502") for _ in range(100)} == {None}


def test_a_site_is_back_when_it_answers_steadily() -> None:
    simulation = down()
    assert simulation.seconds_until(BACK) == STEADY + 1
    assert simulation.state.phase is Phase.UP
    assert simulation.state.ended == START + simulation.now - STEADY


def test_isolated_answers_do_not_end_an_outage() -> None:
    simulation = down()
    for _ in range(50):
        assert simulation.check() is None
        assert simulation.check() is None
        assert simulation.check("502") is None
    assert simulation.state.phase is Phase.DOWN


def test_a_site_that_flaps_must_be_steady_for_longer_each_time() -> None:
    simulation, waits = down(), []
    for _ in range(6):
        waits.append(simulation.seconds_until(BACK))
        simulation.seconds_until(DOWN, "502")
    assert waits == [STEADY * factor + 1 for factor in (1, 1, 1, 2, 4, 8)]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.UP])
def test_a_new_process_waits_for_everything_to_start(phase: Phase) -> None:
    simulation = Simulation(WatchState(phase=phase, last_up=START - 5, was_up=True))
    assert simulation.seconds_until(DOWN, "502") == PATIENCE_STARTING


def test_a_new_process_continues_an_outage_without_a_second_report() -> None:
    simulation = Simulation(WatchState(phase=Phase.DOWN, began=START - 100))
    assert {simulation.check("502") for _ in range(100)} == {None}
    assert simulation.seconds_until(BACK) == STEADY + 1
    assert simulation.state.began == START - 100


def test_a_new_process_reports_an_outage_that_the_old_one_could_not() -> None:
    simulation = Simulation(WatchState(phase=Phase.FAILING, last_up=START - 20))
    assert simulation.seconds_until(DOWN, "502") == 2
