"""The weekly summary: one for each week, with counts that add up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.courier.weekly import last_monday
from flask_mayday.settings import read_settings
from flask_mayday.spool import groups
from flask_mayday.spool.grouping import hide_pending
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outages import Outage, record_outage
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_delivery, a_report

DAY = 86_400.0
MONDAY = 1_767_571_200.0  # 2026-01-05, 00:00 UTC


class Site:
    """A spool and its deliveries on a simulated clock."""

    def __init__(self, folder: Path, summary: str) -> None:
        self.outbox = Outbox(folder, 1 << 24)
        self.mailbox = Mailbox(self.outbox)
        self.read = read_settings(
            {
                "SPOOL_DIR": folder,
                "LOG_DIR": folder,
                "MAIL_SERVER": "127.0.0.1",
                "ADMINS": "a@example.com",
                "REPORT_SUMMARY": summary,
            },
            environ={},
        )
        self.restart()

    def restart(self) -> None:
        self.delivery = a_delivery(self.mailbox, self.read)

    def at(self, now: float, *kinds: str) -> None:
        for kind in kinds:
            report = a_report(f"boom {kind}", fingerprint=kind, time=now, type="ValueError")
            self.outbox.put(report, mailable=True)
        self.mailbox.take_incoming()
        self.delivery.planner.plan(now)
        self.delivery.weekly.add(now)

    def summaries(self) -> list[Any]:
        rows = self.mailbox.connection.execute(
            "SELECT content FROM mails WHERE kind = 'weekly' ORDER BY id"
        )
        return [message_from_bytes(row[0], policy=policy.default) for row in rows]

    def text(self) -> str:
        return re.sub(r"\r| +(?= )", "", self.summaries()[-1].get_body(("plain",)).get_content())


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(summary: str = "weekly") -> Site:
        made.append(Site(tmp_path / "spool", summary))
        return made[-1]

    yield make
    for site in made:
        site.mailbox.close()
        site.outbox.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_week_begins_on_monday() -> None:
    assert last_monday(MONDAY) == MONDAY
    assert last_monday(MONDAY - 1) == MONDAY - 7 * DAY
    assert last_monday(MONDAY + 6.9 * DAY) == MONDAY


def test_there_is_one_summary_for_each_week_across_processes(
    site: Site, make_site: Callable[..., Site]
) -> None:
    other = make_site()
    for hour in range(24 * 22):
        (site, other)[hour % 2].at(MONDAY + 3600.0 * hour)
        if hour % 50 == 0:
            site.restart()
    assert len(site.summaries()) == 3


def test_there_is_no_summary_unless_it_is_switched_on(make_site: Callable[..., Site]) -> None:
    site = make_site("off")
    for day in range(30):
        site.at(MONDAY + day * DAY)
    assert site.summaries() == []


def test_a_summary_after_weeks_without_a_process_covers_all_of_them(site: Site) -> None:
    site.at(MONDAY)
    site.at(MONDAY + 30 * DAY)
    site.at(MONDAY + 30.5 * DAY)
    assert len(site.summaries()) == 1
    assert "From 2026-01-05 00:00:00 UTC to 2026-02-02 00:00:00 UTC" in site.text()


def test_a_summary_counts_what_happened(site: Site) -> None:
    site.at(MONDAY)
    site.at(MONDAY + DAY, "new", "new", "new", "fixed", "noise", "noise")
    group = groups.load(site.mailbox, "noise")
    assert group is not None
    group.mute(MONDAY + DAY)
    hide_pending(site.mailbox, group, "muted")
    fixed = groups.load(site.mailbox, "fixed")
    assert fixed is not None
    fixed.resolve(MONDAY + 2 * DAY, "2")
    groups.save(site.mailbox, [group, fixed])
    site.at(MONDAY + 3 * DAY, "noise", "fixed")
    for mail in site.mailbox.due(MONDAY + 3 * DAY, 300)[:2]:
        site.mailbox.finish(mail, "delivered")
    record_outage(site.mailbox, Outage(MONDAY + DAY, MONDAY + DAY + 252, 40))
    site.at(MONDAY + 7 * DAY)
    text = site.text()
    assert site.summaries()[-1]["Subject"] == "[app] Weekly summary: 8 errors of 3 kinds"
    for line in (
        "Errors: 8",
        "Hidden: 2 of them",
        "New kinds: 3",
        "Resolved: 1",
        "Back: 1",
        "Muted now: 1",
        "Mails delivered: 2",
        "4 min 12 s in total, 1 time; visitors got 40 error pages",
        "3 x ValueError: boom noise\n muted, 2 of them hidden, fingerprint noise",
        "2 x ValueError: boom fixed\n back, fingerprint fixed",
        "3 x ValueError: boom new\n new, fingerprint new",
        "Environment: production",
        "Release: unknown",
    ):
        assert line in text, text


def test_each_error_is_in_one_summary(site: Site) -> None:
    site.at(MONDAY)
    total = 0
    for hour in range(0, 24 * 36, 7):
        kinds = [f"kind {hour % 5}"] * (hour % 4)
        total += len(kinds)
        site.at(MONDAY + 3600.0 * hour, *kinds)
    found = [re.search(r"summary: (\d+) error", str(one["Subject"])) for one in site.summaries()]
    site.at(MONDAY + 42 * DAY)
    found = [re.search(r"summary: (\d+) error", str(one["Subject"])) for one in site.summaries()]
    assert sum(int(match[1]) for match in found if match) == total


def test_a_clock_that_was_set_far_ahead_does_not_stop_the_summaries(site: Site) -> None:
    site.at(MONDAY + 4000 * DAY)
    for day in range(15):
        site.at(MONDAY + day * DAY)
    assert len(site.summaries()) == 2
