"""A spool that is nearly full: what goes first, and that what goes untold is counted."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_mayday.courier.delivery import Round
from flask_mayday.report.report import Report
from flask_mayday.settings import read_settings
from flask_mayday.spool import quota as room
from flask_mayday.spool.mailbox import Queue
from flask_mayday.spool.outbox import DATABASE_SHARE, LOG_SHARE, Outbox
from tests.support.reports import a_mail, a_report

MAXIMUM = 2 << 20  # bytes
NOW = 1_767_225_600.0  # 2026-01-01


def report(fingerprint: str = "f", size: int = 4000) -> Report:
    return a_report("x" * size, fingerprint=fingerprint, time=NOW)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    outbox = Outbox(tmp_path / "spool", MAXIMUM)
    outbox.put(report("to make the database"), mailable=False)
    made = Queue(outbox)
    yield made
    made.close()
    outbox.close()


@pytest.fixture
def round_(queue: Queue, settings: dict[str, object], mail_settings: dict[str, object]) -> Round:
    read = read_settings({**settings, **mail_settings, "REPORT_WINDOW": 300})
    return Round(read, queue, threading.Event())


def fill(queue: Queue, fingerprint: str, *, mailable: bool = True) -> int:
    """Put reports until the database is nearly full; return how many."""
    count = 0
    while room._used(queue) < MAXIMUM * DATABASE_SHARE * 0.95:
        queue.outbox.put(report(fingerprint), mailable=mailable)
        count += 1
    return count


def left(queue: Queue, fingerprint: str) -> int:
    row = queue.connection.execute(
        "SELECT count(*) FROM reports WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    return int(row[0])


def test_a_spool_with_room_loses_nothing(queue: Queue) -> None:
    queue.outbox.put(report("delivered"), mailable=True)
    a_mail(queue, "delivered", "delivered")
    room.make_room(queue, NOW)
    assert left(queue, "delivered") == 1


def test_what_was_delivered_goes_first_and_is_no_loss(queue: Queue) -> None:
    for _ in range(3):
        queue.outbox.put(report("waits"), mailable=True)
    count = fill(queue, "delivered")
    a_mail(queue, "delivered", "delivered")
    room.make_room(queue, NOW)
    assert 0 < left(queue, "delivered") < count
    assert left(queue, "waits") == 3
    assert room.dropped(queue) == 0


def test_the_mails_of_the_last_hour_keep_their_rows(queue: Queue) -> None:
    a_mail(queue, "old", "delivered", created=NOW - 7200, size=200_000)
    a_mail(queue, "new", "delivered", created=NOW, size=200_000)
    fill(queue, "waits")
    room.make_room(queue, NOW - 3600)
    rows = queue.connection.execute("SELECT fingerprint, content FROM mails").fetchall()
    assert rows == [("new", "")]
    assert room.dropped(queue) == 0


def test_a_report_whose_mail_waits_is_told_by_the_mail(queue: Queue) -> None:
    fill(queue, "waits")
    a_mail(queue, "waits", "waiting")
    room.make_room(queue, NOW)
    assert queue.connection.execute("SELECT state FROM mails").fetchall() == [("waiting",)]
    assert room.dropped(queue) == 0


def test_what_goes_untold_is_counted_the_oldest_first(queue: Queue) -> None:
    queue.outbox.put(report("first"), mailable=True)
    count = fill(queue, "later")
    room.make_room(queue, NOW)
    assert left(queue, "first") == 0
    assert room.dropped(queue) == 1 + count - left(queue, "later")
    assert room._used(queue) <= MAXIMUM * DATABASE_SHARE * room.ROOM_MADE


def test_mails_that_wait_go_last_with_all_they_tell_of(queue: Queue) -> None:
    for number in range(40):
        a_mail(queue, f"kind {number}", "waiting", size=30_000)
    room.make_room(queue, NOW)
    waiting = queue.connection.execute("SELECT count(*) FROM mails").fetchone()[0]
    assert 0 < waiting < 40
    assert room.dropped(queue) == 10 * (40 - waiting)


def test_what_was_refused_for_good_goes_after_its_days_and_is_counted(queue: Queue) -> None:
    for fingerprint, created in (("old", NOW - 100), ("new", NOW + 100)):
        queue.outbox.put(report(fingerprint), mailable=True)
        a_mail(queue, fingerprint, "failed", created=created)
    room.drop_failed(queue, NOW)
    assert (left(queue, "old"), left(queue, "new")) == (0, 1)
    assert queue.connection.execute("SELECT fingerprint FROM mails").fetchall() == [("new",)]
    assert room.dropped(queue) == 10


def test_producers_go_on_once_room_was_made(queue: Queue) -> None:
    fill(queue, "f")
    room.make_room(queue, NOW)
    for _ in range(50):
        queue.outbox.put(report("after"), mailable=True)
    assert left(queue, "after") == 50


def test_the_number_of_dropped_errors_is_reported_once_a_window(
    queue: Queue, round_: Round, caplog: pytest.LogCaptureFixture
) -> None:
    fill(queue, "f")
    room.make_room(queue, NOW)
    first = room.dropped(queue)
    round_.tell_dropped(NOW)
    fill(queue, "f")
    room.make_room(queue, NOW)
    second = room.dropped(queue)
    round_.tell_dropped(NOW + 299)
    round_.tell_dropped(NOW + 300)
    told = [record.args[0] for record in caplog.records if "make room" in record.msg]  # type: ignore[index]
    assert told == [first, second]
    assert room.dropped(queue) == 0


def test_while_no_mail_gets_through_they_are_reported_in_the_log_only(
    queue: Queue, round_: Round, caplog: pytest.LogCaptureFixture
) -> None:
    room.note(queue, 7)
    for round_.failures, moment in ((1, NOW), (0, NOW + 3600)):
        round_.tell_dropped(moment)
    in_log, reported = [record for record in caplog.records if "make room" in record.msg]
    assert [in_log.args[0], reported.args[0]] == [7, 7]  # type: ignore[index]
    assert [in_log.unreported, reported.unreported] == [True, False]  # type: ignore[attr-defined]
    assert room.dropped(queue) == 0


def test_a_full_spool_goes_on_taking_reports_and_all_are_told_or_counted(
    make_app: Callable[..., Flask],
    mail_settings: dict[str, object],
    wait_until: Callable[..., Any],
    read_log: Callable[[], str],
    tmp_path: Path,
) -> None:
    """Nobody answers at the mail server; more comes in than the spool may hold."""
    settings = {"SPOOL_MAX_BYTES": 4 << 20, "REPORT_WINDOW": 1, "LOG_MAX_BYTES": 1 << 30}
    app = make_app(**mail_settings, **settings)
    courier = app.extensions["mayday"].courier
    courier.ensure_running()
    for number in range(3000):
        logging.getLogger("blog").error("%s %s", "x" * 1000, "abcdefgh"[number % 8])
        if number % 100 == 0:
            wait_until(lambda: len(courier.outbox.backlog) == 0, "room for what is held")
    wait_until(lambda: len(courier.outbox.backlog) == 0, "room for what is held")
    courier.stop(10)
    spool = sqlite3.connect(tmp_path / "spool" / "reports.db")
    in_mails = spool.execute("SELECT coalesce(sum(count), 0) FROM mails").fetchone()[0]
    unmailed = spool.execute("SELECT count(*) FROM reports WHERE mail_id IS NULL").fetchone()[0]
    not_told = spool.execute("SELECT coalesce(sum(value), 0) FROM counters").fetchone()[0]
    spool.close()
    folder = tmp_path / "spool" / "incoming"
    files = [path.read_bytes() for path in folder.iterdir()] if folder.is_dir() else []
    unmailed += sum(content.count(b"\n") for content in files)
    told = re.findall(r"(\d+) errors are in the log only: the spool was full", read_log())
    # No mail gets through, and so the report of it would have to make room.
    assert 0 < int(told[-1]) <= not_told
    errors = 3000
    # A line that is written twice, as it may be while the courier takes its file, counts twice
    # where the first had to make room before the second came.
    assert errors <= in_mails + unmailed + not_told <= errors + 5
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "spool").iterdir()}
    assert sum(sizes.values()) <= 4 << 20


# Mail that is stuck


def test_mail_that_waits_for_an_hour_is_critical_in_the_log_once_an_hour(
    queue: Queue, round_: Round, caplog: pytest.LogCaptureFixture
) -> None:
    a_mail(queue, "f", "waiting", created=NOW)
    for minutes in (0, 59, 60, 61, 119, 120, 121):
        round_.tell_stuck(NOW + minutes * 60)
    critical = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert [record.args[0] for record in critical] == [60, 120]  # type: ignore[index]
    # In the log only: a mail about stuck mail would be stuck too.
    assert all(record.unreported for record in critical)  # type: ignore[attr-defined]


def test_a_log_that_has_outgrown_its_share_is_shortened(queue: Queue) -> None:
    """As where somebody was always at it when it could have been brought into the database."""
    log = queue.outbox.path.with_name("reports.db-wal")
    with closing(sqlite3.connect(queue.outbox.path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        while log.stat().st_size <= MAXIMUM * LOG_SHARE:
            queue.shorten_log()
            assert log.stat().st_size > 0
            writer.execute("UPDATE reports SET body = hex(randomblob(50000))")
        queue.shorten_log()
    assert log.stat().st_size == 0


def test_a_checkpoint_keeps_the_log_small_long_before_a_visitors_report_would(
    outbox: Outbox,
) -> None:
    outbox.put(report(), mailable=True)
    queue = Queue(outbox)
    log = outbox.path.with_name("reports.db-wal")
    for number in range(120):
        outbox.put(report(), mailable=True)
        if number % 30 == 0:
            queue.checkpoint()
    with_checkpoints = log.stat().st_size
    for _ in range(120):
        outbox.put(report(), mailable=True)
    queue.close()
    assert log.stat().st_size > 2 * with_checkpoints
