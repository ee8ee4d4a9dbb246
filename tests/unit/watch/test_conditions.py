"""Conditions that will become an outage: when each counts, and that it is reported once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import NotDurableError, Outbox
from flask_mayday.spool.starts import (
    START,
    expire_server_events,
    note_server_event,
    server_events,
)
from flask_mayday.watch import texts
from flask_mayday.watch.conditions import (
    Condition,
    Conditions,
    mail_conditions,
    restart_conditions,
    spool_trouble,
    starts_of_nginx,
    starts_of_web,
    volume_conditions,
    why_mail_waits,
)
from flask_mayday.watch.state import WatchState
from tests.support.reports import a_new_mail, a_report

GIB = 1 << 30
DAY = 86_400.0


def alert() -> Condition:
    return Condition("x", texts.spool_broken("cannot be written: no space left"))


def test_a_condition_is_reported_again_after_a_day_or_when_it_returns() -> None:
    conditions = Conditions(WatchState())
    assert conditions.alert_to_send(alert(), 0.0) is not None
    assert conditions.alert_to_send(alert(), 60.0) is None
    assert conditions.alert_to_send(alert(), DAY + 1) is not None
    assert conditions.alert_to_send(Condition("x", None, is_uncertain=True), DAY + 2) is None
    assert conditions.alert_to_send(alert(), DAY + 3) is None
    assert conditions.alert_to_send(Condition("x", None), DAY + 4) is None
    assert conditions.alert_to_send(alert(), DAY + 5) is not None


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (8 << 20, 100 << 20, "full"),
        (12 << 20, 100 << 20, "uncertain"),
        (20 << 20, 100 << 20, "fine"),
        (50 * GIB, 1000 * GIB, "fine"),
        (4 * GIB, 1000 * GIB, "full"),
    ],
)
def test_a_volume_is_nearly_full_by_share_and_by_size(free: int, total: int, state: str) -> None:
    def status(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, total // 4096, 0, free // 4096, 0, 0, 0, 0, 255))

    (found,) = volume_conditions({"spool": Path("/x")}, status)
    assert (found.alert is not None) == (state == "full")
    assert found.is_uncertain == (state == "uncertain")
    if found.alert:
        assert "The volume spool is nearly full" in found.alert.what


def test_a_volume_that_was_nearly_full_is_reported_once_more_when_it_is_full() -> None:
    conditions, free = Conditions(WatchState()), 5 << 20

    def status(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 25_600, 0, free // 4096, 0, 0, 0, 0, 255))

    def news() -> list[str]:
        found = volume_conditions({"logs": Path("/x")}, status)
        alerts = [conditions.alert_to_send(condition, 1.0) for condition in found]
        return [alert.what for alert in alerts if alert]

    assert news() == ["The volume logs is nearly full: 5 MiB of 100 MiB are free (5%)"]
    free = 0
    full = "The volume logs is full. Until there is space, log lines go to stdout and stderr only"
    assert news() == [full]
    free = 5 << 20
    assert news() == []
    free = 50 << 20
    assert news() == []
    free = 0
    assert news() == [full]


# Restarts


@pytest.mark.parametrize(
    ("events", "count"),
    [
        (["a start", "a start", "a start"], 3),
        (["a start", "a stop", "a start", "a stop", "a start"], 1),
        (["a start", "b start", "c start"], 1),
        (["a start", "b start", "a start", "b stop", "a start"], 3),
    ],
)
def test_starts_are_counted_per_host_and_not_after_an_orderly_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[str], count: int
) -> None:
    for event in events:
        host, kind = event.split()
        monkeypatch.setattr("socket.gethostname", lambda name=host: name)
        note_server_event(tmp_path, kind)
    now = time.time()
    assert len(starts_of_web(tmp_path, now)) == count
    assert starts_of_web(tmp_path, now + 61) == []
    (condition,) = restart_conditions("web", starts_of_web(tmp_path, now), now)
    assert (condition.alert is not None) == (count >= 3)


def test_the_files_of_starts_are_bounded_and_expire(tmp_path: Path) -> None:
    for _ in range(1000):
        note_server_event(tmp_path, START)
    (path,) = (tmp_path / "starts").iterdir()
    assert path.stat().st_size < 5000
    assert server_events(tmp_path, 0.0)[-1].time > time.time() - 60
    expire_server_events(tmp_path, time.time() + 1)
    assert server_events(tmp_path, 0.0) == []


def test_a_folder_that_cannot_be_written_stops_no_server(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("in the way")
    note_server_event(tmp_path, START)


def test_nginx_notes_its_starts_in_a_file(tmp_path: Path) -> None:
    assert starts_of_nginx(tmp_path) == []
    (tmp_path / "starts").write_bytes(b"100\n101\nnonsense\n\xff\n102\n")
    assert starts_of_nginx(tmp_path) == [100, 101, 102]


def test_a_folder_of_starts_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "starts").symlink_to("starts")
    expire_server_events(tmp_path / ("a" * 300), time.time())  # too long for any file system
    expire_server_events(tmp_path, time.time())


# The spool and the mail in it


def test_the_spool_is_checked_by_writing_to_it(outbox: Outbox) -> None:
    assert spool_trouble(outbox) == ""
    assert list(outbox.folder.iterdir()) == []
    outbox.folder.rmdir()
    outbox.folder.write_text("in the way")
    assert spool_trouble(outbox) != ""


def test_the_alert_says_once_what_is_wrong_with_the_spool(outbox: Outbox) -> None:
    outbox.folder.write_text("in the way")
    assert texts.spool_broken(spool_trouble(outbox)).what == (
        "The spool cannot be written: File exists. Errors are kept in memory only"
    )
    with pytest.raises(NotDurableError):
        outbox.put(a_report(), mailable=True)
    outbox.folder.unlink()
    assert texts.spool_broken(spool_trouble(outbox)).what == (
        "The spool cannot be written; 1 report is held in memory only"
    )


def test_a_spool_that_cannot_be_opened_is_left_to_the_check_of_the_spool(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / ("a" * 300), 1 << 20)  # too long for any file system
    assert list(mail_conditions(outbox, 0.0)) == []


def test_waiting_mail_stops_the_heartbeat_and_becomes_an_alert(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    assert why_mail_waits(outbox, 0.0) == ""
    with closing(mailbox_of()) as mailbox:
        mailbox.add_mail(a_new_mail(created=1000.0))
        assert why_mail_waits(outbox, 1100.0) == "mail is waiting"
        mailbox.connection.execute("UPDATE mails SET error = 'the server is down'")
        assert why_mail_waits(outbox, 1080.0) == ""
        assert why_mail_waits(outbox, 1100.0) == "mail is waiting: the server is down"
        assert [one.alert for one in mail_conditions(outbox, 1100.0)] == [None]
        (condition,) = mail_conditions(outbox, 2000.0)
        assert condition.alert is not None
        assert condition.alert.what == "Error mails have been waiting for 16 min 40 s"
        assert condition.alert.details == {"Reason": "the server is down"}


def test_reports_that_no_courier_imports_stop_the_heartbeat(outbox: Outbox) -> None:
    outbox.put(a_report(), mailable=True)
    assert why_mail_waits(outbox, time.time()) == ""
    assert (
        why_mail_waits(outbox, time.time() + 100)
        == "reports are waiting, and no courier has taken them in"
    )
