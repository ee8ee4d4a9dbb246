"""How the hourly cap is shared among routes and loggers."""

from __future__ import annotations

from collections import Counter

import pytest

from flask_mayday.courier.budget import FairBudget


def spend(budget: FairBudget, source: str, wanted: int) -> int:
    """Ask for mails of a source; return how many were allowed."""
    allowed = 0
    for _ in range(wanted):
        if budget.allows(source):
            budget.spend(source)
            allowed += 1
    return allowed


def test_a_source_that_floods_leaves_a_quarter_to_the_others() -> None:
    budget = FairBudget(60, {})
    assert spend(budget, "/flood", 1000) == 45
    assert spend(budget, "/other", 3) == 3
    assert spend(budget, "/flood", 10) == 0


def test_the_first_error_of_each_of_many_sources_is_allowed_until_the_cap() -> None:
    budget = FairBudget(60, {})
    spend(budget, "/flood", 1000)
    assert [spend(budget, f"/{number}", 1) for number in range(20)] == [1] * 15 + [0] * 5
    assert budget.is_used_up


def test_a_source_that_had_mails_may_report_a_new_error_while_another_floods() -> None:
    budget = FairBudget(60, {"/other": 3})
    spend(budget, "/flood", 1000)
    assert spend(budget, "/other", 1) == 1


def test_several_floods_leave_mails_to_the_others() -> None:
    budget = FairBudget(60, {})
    for _ in range(100):
        for flood in range(4):
            spend(budget, f"/flood/{flood}", 1)
    assert spend(budget, "/other", 1) == 1


@pytest.mark.parametrize("cap", range(1, 80))
def test_all_sources_together_stay_within_the_cap_and_each_gets_some(cap: int) -> None:
    budget, made = FairBudget(cap, {}), Counter[str]()
    for round_ in range(100):
        for source in map(str, range(round_ % 7)):
            made[source] += spend(budget, source, 2)
    assert made.total() <= cap
    assert spend(FairBudget(cap, {}), "/alone", 1000) >= max(1, cap * 3 // 4 - 1)
    assert not FairBudget(cap, {"a": cap}).allows("b")
