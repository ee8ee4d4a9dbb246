"""The template filters for times and avatars."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import escape

from app.main.avatar import avatar
from app.main.times import ago, day, exact
from app.models import now


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=50), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=59, seconds=50), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=25), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
    ],
)
def test_a_recent_time_is_shown_as_relative(passed, text):
    assert ago(now() - passed) == text


def test_an_old_time_is_shown_as_a_date():
    moment = datetime(2024, 3, 7, 14, 5, 9, tzinfo=UTC)
    assert ago(moment) == day(moment) == "7 March 2024"
    assert exact(moment) == "7 March 2024, 14:05:09 UTC"


def test_the_avatar_does_not_depend_on_the_case_of_the_name():
    assert avatar("Susan", 40) == avatar("susan", 40) != avatar("john", 40)


def test_the_avatar_has_its_size_and_needs_no_escaping():
    svg = avatar("susan", 96)
    assert 'width="96" height="96"' in svg
    assert escape(svg) == svg


def test_the_three_colours_of_an_avatar_differ():
    for number in range(500):
        assert len(set(re.findall('fill="(#[0-9a-f]{6})"', avatar(f"user{number}", 40)))) == 3
