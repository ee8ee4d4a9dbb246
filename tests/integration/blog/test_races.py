"""Eight concurrent requests for one name: one succeeds, seven get a form error, none a 500."""

from __future__ import annotations

import pytest

from tests.support import races


@pytest.mark.parametrize("round_", races.ROUNDS)
def test_one_of_eight_registrations_gets_the_name(site: str, round_: int) -> None:
    assert races.register_one_name(site) == (1, 7, [])


@pytest.mark.parametrize("round_", races.ROUNDS)
def test_one_of_eight_renames_gets_the_name(site: str, round_: int) -> None:
    assert races.rename_to_one_name(site) == (1, 7, [])
