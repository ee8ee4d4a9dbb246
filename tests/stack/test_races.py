"""Races for one name through nginx and two web containers: one success, never a 500."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import races
from tests.support.compose import Stack


@pytest.fixture
def site(stack: Stack) -> str:
    stack.up("--no-build", "--scale", "web=2")
    return stack.url


@pytest.mark.parametrize("race", [races.register_one_name, races.rename_to_one_name])
def test_of_eight_requests_for_one_name_one_succeeds_and_seven_get_a_message(
    site: str, race: Callable[[str], tuple[int, int, list[int]]]
) -> None:
    assert [race(site) for _ in races.ROUNDS] == [(1, 7, [])] * len(races.ROUNDS)
