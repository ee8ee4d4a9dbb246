"""The outages of the site, in the spool's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from flask_mayday.spool.database import Database
from flask_mayday.spool.outages import Outage, outages_between, record_outage
from flask_mayday.spool.outbox import Outbox


@pytest.fixture
def database(outbox: Outbox) -> Iterator[Database]:
    with closing(Database(outbox.path)) as opened:
        yield opened


def test_an_outage_is_recorded_once_and_updated_when_it_ends(database: Database) -> None:
    record_outage(database, Outage(100.0, None, 3))
    record_outage(database, Outage(100.0, 160.0, 7))
    assert outages_between(database, 0, 1000) == [Outage(100.0, 160.0, 7)]


def test_only_outages_of_which_a_part_is_in_the_span_are_returned(database: Database) -> None:
    for outage in (Outage(10, 20), Outage(90, 110), Outage(150, 160), Outage(190, None)):
        record_outage(database, outage)
    assert [one.began for one in outages_between(database, 100, 200)] == [90, 150, 190]


@pytest.mark.parametrize(
    ("outage", "seconds"),
    [
        (Outage(90, 110), 10),
        (Outage(120, 130), 10),
        (Outage(190, None), 10),
        (Outage(10, 20), 0),
        (Outage(90, None), 100),
    ],
)
def test_the_seconds_of_an_outage_are_those_within_the_span(outage: Outage, seconds: int) -> None:
    assert outage.seconds(100, 200) == seconds
