"""The states of an error group: each event in each state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_mayday.spool.error_group import IGNORED, MUTED, TRANSITIONS, ErrorGroup, Event, State

START = 1_767_225_600.0  # 2026-01-01
DAY = 86_400.0

# The state after each event, by the state before; a muted group was known before.
TABLE = """
          new       known     muted     resolved  back
ERROR     new       known     muted     back      back
REPEAT    known     known     muted     back      back
IGNORED   new       known     muted     resolved  back
MUTE      muted     muted     muted     muted     muted
UNMUTE    new       known     known     resolved  back
RESOLVE   resolved  resolved  resolved  resolved  resolved
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [
    (state, event, after)
    for event, *states in ROWS
    for state, after in zip(HEAD, states, strict=True)
]

EVENTS: dict[str, Callable[[ErrorGroup], object]] = {
    "ERROR": lambda group: group.occur(START + 2, "2"),
    "REPEAT": lambda group: group.occur(START + 2, "2"),
    "IGNORED": lambda group: group.occur(START + 2, "2", ignored=True),
    "MUTE": lambda group: group.mute(START + 2),
    "UNMUTE": lambda group: group.unmute(),
    "RESOLVE": lambda group: group.resolve(START + 2, "2"),
}


def in_state(state: str) -> ErrorGroup:
    """Return a group that has come into a state by errors and an operator's commands."""
    group = ErrorGroup("f")
    group.occur(START, "1")
    if state == "known":
        group.mails = 1
        group.occur(START, "1")
    if state == "muted":
        group.state = State.KNOWN
        group.mute(START)
    if state in ("resolved", "back"):
        group.resolve(START, "1")
    if state == "back":
        group.occur(START + 1, "1")
    assert group.state == state
    return group


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_each_event_leads_to_the_state_in_the_table(state: str, event: str, after: str) -> None:
    group = in_state(state)
    group.mails = event == "REPEAT"
    EVENTS[event](group)
    assert group.state == after
    wanted = TRANSITIONS[State(state)][Event[event]]
    assert wanted in (State(after), None)


def test_the_table_has_every_state_and_event() -> None:
    assert len(CELLS) == len(State) * len(Event)
    assert {state: set(events) for state, events in TRANSITIONS.items()} == {
        state: set(Event) for state in State
    }


@pytest.mark.parametrize("state", ["new", "known", "resolved", "back"])
def test_the_end_of_a_mute_restores_the_state_before(state: str) -> None:
    group = in_state(state)
    group.mute(START)
    group.mute(START + 1, until=START + 2)  # a second mute changes only how long
    assert group.occur(START + 1, "1") == MUTED
    group.unmute()
    assert group.state == state


def test_a_mute_ends_at_its_time() -> None:
    group = in_state("known")
    group.mute(START, until=START + DAY)
    assert group.occur(START + DAY - 1, "1") == MUTED
    assert group.occur(START + DAY, "1") is None
    assert (group.count, group.hidden, group.muted_count) == (4, 1, 1)


def test_a_mute_until_a_release_ends_with_an_error_of_another_release() -> None:
    group = in_state("known")
    group.mute(START, release="1")
    assert group.occur(START + 9 * DAY, "1") == MUTED
    assert group.occur(START + 9 * DAY, "") == MUTED  # nobody knows which
    assert group.occur(START + 9 * DAY, "2") is None


def test_an_error_from_before_it_was_resolved_does_not_bring_it_back() -> None:
    group = in_state("resolved")
    assert group.occur(START - 1, "1") is None
    assert group.state == "resolved"
    assert not group.back_unsaid


def test_an_error_that_is_back_is_to_be_announced_once() -> None:
    group = in_state("back")
    assert (group.back_at, group.back_unsaid) == (START + 1, True)
    group.resolve(START + 2, "2")
    assert (group.resolved_at, group.resolved_release) == (START + 2, "2")
    assert not group.back_unsaid


def test_an_ignored_error_does_not_bring_a_resolved_one_back() -> None:
    group = in_state("resolved")
    assert group.occur(START + 9, "2", ignored=True) == IGNORED
    assert group.state == "resolved"
    assert (group.count, group.hidden) == (2, 1)


def test_a_group_knows_its_first_and_last_error_in_any_order_of_arrival() -> None:
    group = ErrorGroup("f")
    for time, release in ((START + 5, "2"), (START, "1"), (START + 9, "3"), (START + 7, "2")):
        group.occur(time, release)
    assert (group.first_seen, group.first_release) == (START, "1")
    assert (group.last_seen, group.last_release) == (START + 9, "3")


def test_a_second_mute_goes_on_counting_since_the_first() -> None:
    group = in_state("known")
    group.mute(START)
    group.occur(START + 1, "1")
    group.mute(START + 2, until=START + DAY)
    group.occur(START + 3, "1")
    assert (group.muted_at, group.muted_count) == (START, 2)
    group.unmute()
    group.mute(START + 4)
    assert (group.muted_at, group.muted_count) == (START + 4, 0)
