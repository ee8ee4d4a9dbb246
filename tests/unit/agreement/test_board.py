"""The board: what a node reads from the two tables, and what it then writes."""

from __future__ import annotations

from typing import Any

import pytest

from flask_mayday.agreement import board as module
from flask_mayday.agreement import statements as sql
from flask_mayday.agreement.board import Board
from flask_mayday.agreement.question import SUMMARY, Candidate, Question, Tally
from flask_mayday.courier.budget import FairBudget
from flask_mayday.settings import AgreementSettings


class Tables:
    """Answers like PostgreSQL with a claim of a dead node and a count of the first summary."""

    back_at = 0.0

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def call(self, statements: str, values: Any = None) -> list[tuple[Any, ...]]:
        self.calls.append((statements, values))
        if statements.endswith(sql.WINDOWS):
            return [(5, "1a", "two", None, 900.0, False, True)]
        if statements == sql.RECENT:
            return [("", "", 0, False)]
        if statements == sql.COUNTED:
            return [("1b", 0, 1, 1.0, 1.0, "ValueError: b", "one", 0.0)]
        return []


def test_a_mail_without_a_window_before_it_has_no_counts_of_the_first_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = Tables()
    monkeypatch.setattr(module, "Connection", lambda settings: tables)
    settings = AgreementSettings("postgresql://127.0.0.1/x", node="one")
    board = Board(settings, 300.0, lambda made: FairBudget(60, made))
    held = Tally("1b", 0, 1, 1.0, 1.0, "ValueError: b")
    repeats = Tally("1a", 5, 2, 1.0, 2.0, "ValueError: a")
    answer = board.exchange(
        Question(tallies=(held, repeats), candidates=(Candidate("1a", "GET /a", 5),))
    )
    (claim,) = answer.claims
    assert (claim.window, claim.previous, claim.tallies) == (5, None, ())
    assert answer.windows.get(SUMMARY) is None
    uncounted = [values for text, values in tables.calls if text == sql.UNCOUNT]
    assert [(one["fingerprints"], one["windows"]) for one in uncounted] == [(["1a"], [5])]
