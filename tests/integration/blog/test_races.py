"""One name, eight requests at once: one success, seven form messages, never a 500."""

from __future__ import annotations

import pytest

from tests.support import races


@pytest.mark.parametrize("round_", races.ROUNDS)
def test_of_eight_registrations_of_one_name_seven_are_told_so(site: str, round_: int) -> None:
    assert races.register_one_name(site) == (1, 7, [])


@pytest.mark.parametrize("round_", races.ROUNDS)
def test_of_eight_registrations_with_one_address_seven_are_told_so(site: str, round_: int) -> None:
    assert races.register_one_address(site) == (1, 7, [])


@pytest.mark.parametrize("round_", races.ROUNDS)
def test_of_eight_renames_to_one_name_seven_are_told_so(site: str, round_: int) -> None:
    assert races.rename_to_one_name(site) == (1, 7, [])
