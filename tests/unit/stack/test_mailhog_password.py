"""MailHog's password: what is refused, and the line that its guard reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PASSWORD = "zażółć gęślą jaźń"


@pytest.fixture
def script(load: Callable[[str], Any]) -> Any:
    return load("docker/mailhog_password.py")


@pytest.mark.parametrize("password", ["short", "with a\nsecond line", "an escape\x1b[31m"])
def test_a_password_that_is_short_or_cannot_be_typed_is_refused(script: Any, password: str) -> None:
    assert "at least 12 printable characters" in script.problem(password)


@pytest.mark.parametrize("password", ["", PASSWORD, "x" * 12])
def test_other_passwords_and_none_are_accepted(script: Any, password: str) -> None:
    assert script.problem(password) is None


def test_the_line_holds_a_salted_hash_and_changes_with_the_password_only(script: Any) -> None:
    line = script.user_line(PASSWORD, "")
    assert line.startswith("admin:$6$")
    assert PASSWORD not in line
    assert script.user_line(PASSWORD, line) == line
    assert script.user_line(PASSWORD, "") != line
    other = script.user_line(f"{PASSWORD}!", line)
    assert other != line
    assert script.user_line(PASSWORD, other) not in (line, other)


def test_the_verbs_use_the_same_name(script: Any, load: Callable[[str], Any]) -> None:
    assert load("docker/verbs/mailhog.py").USER == script.USER
