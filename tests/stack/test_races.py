"""The races again over nginx, with two web containers: one success, seven messages, never a 500."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import races
from tests.support.compose import Stack


@pytest.fixture
def site(stack: Stack) -> str:
    stack.up("--no-build", "--scale", "web=2")
    return stack.url


@pytest.mark.parametrize(
    "race", [races.register_one_name, races.register_one_address, races.rename_to_one_name]
)
def test_of_eight_that_want_one_name_seven_are_told_so(
    site: str, race: Callable[[str], tuple[int, int, list[int]]]
) -> None:
    assert [race(site) for _ in races.ROUNDS] == [(1, 7, [])] * len(races.ROUNDS)
