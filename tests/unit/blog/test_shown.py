"""How times and users are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.main.avatar import avatar
from app.main.times import ago, day, exact
from app.models import now


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=25), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
    ],
)
def test_a_time_is_said_by_its_distance(passed, text):
    assert ago(now() - passed) == text


def test_a_time_long_ago_is_said_by_its_date():
    moment = datetime(2024, 3, 7, 14, 5, 9, tzinfo=UTC)
    assert ago(moment) == day(moment) == "7 March 2024"
    assert exact(moment) == "7 March 2024, 14:05:09 UTC"


def test_a_user_has_one_avatar_whatever_the_case():
    assert avatar("Susan") == avatar("susan") != avatar("john")


def test_the_shapes_of_an_avatar_can_be_told_apart():
    for number in range(500):
        drawn = avatar(f"user{number}")
        assert len({drawn.ground, drawn.block, drawn.disc}) == 3
