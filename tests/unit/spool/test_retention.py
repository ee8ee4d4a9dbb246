"""A nearly full spool: the order of eviction, and every error is counted."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_mayday.courier.delivery import Delivery
from flask_mayday.report.report import Report
from flask_mayday.settings import read_settings
from flask_mayday.spool import retention
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import DATABASE_SHARE, WAL_SHARE, Outbox
from flask_mayday.spool.stored_mail import StoredMail
from tests.support.reports import a_delivery, a_mail, a_report, query

MAXIMUM = 2 << 20  # bytes
NOW = 1_767_225_600.0  # 2026-01-01


def report(fingerprint: str = "f", size: int = 4000) -> Report:
    return a_report("x" * size, fingerprint=fingerprint, time=NOW)


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    outbox = Outbox(tmp_path / "spool", MAXIMUM)
    made = Mailbox(outbox)
    yield made
    made.close()
    outbox.close()


@pytest.fixture
def delivery(
    mailbox: Mailbox, settings: dict[str, object], mail_settings: dict[str, object]
) -> Delivery:
    read = read_settings({**settings, **mail_settings, "REPORT_WINDOW": 300})
    return a_delivery(mailbox, read)


def record(mailbox: Mailbox, made: Report, *, mailable: bool = True) -> None:
    mailbox.outbox.put(made, mailable=mailable)
    mailbox.take_incoming()


def number(entry: logging.LogRecord) -> int:
    return int(entry.getMessage().split()[0])


def fill(mailbox: Mailbox, fingerprint: str, *, mailable: bool = True) -> int:
    """Put reports until the database is nearly full; return how many."""
    count = 0
    while mailbox.used_bytes() < MAXIMUM * DATABASE_SHARE * 0.95:
        record(mailbox, report(fingerprint), mailable=mailable)
        count += 1
    return count


def left(mailbox: Mailbox, fingerprint: str) -> int:
    row = mailbox.connection.execute(
        "SELECT count(*) FROM reports WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    return int(row[0])


def test_a_spool_that_is_not_full_loses_nothing(mailbox: Mailbox) -> None:
    record(mailbox, report("delivered"))
    a_mail(mailbox, "delivered", "delivered")
    retention.evict(mailbox, NOW)
    assert left(mailbox, "delivered") == 1


def test_delivered_reports_are_evicted_first_and_not_counted(mailbox: Mailbox) -> None:
    for _ in range(3):
        record(mailbox, report("waits"))
    count = fill(mailbox, "delivered")
    a_mail(mailbox, "delivered", "delivered")
    retention.evict(mailbox, NOW)
    assert 0 < left(mailbox, "delivered") < count
    assert left(mailbox, "waits") == 3
    assert mailbox.counter("dropped") == 0


def test_the_mails_of_the_last_hour_keep_their_rows(mailbox: Mailbox) -> None:
    a_mail(mailbox, "old", "delivered", created=NOW - 7200, size=200_000)
    a_mail(mailbox, "new", "delivered", created=NOW, size=200_000)
    fill(mailbox, "waits")
    retention.evict(mailbox, NOW - 3600)
    rows = mailbox.connection.execute("SELECT fingerprint, content FROM mails").fetchall()
    assert rows == [("new", "")]
    assert mailbox.counter("dropped") == 0


def test_a_report_whose_mail_waits_is_in_the_mail(mailbox: Mailbox) -> None:
    fill(mailbox, "waits")
    a_mail(mailbox, "waits", "waiting")
    retention.evict(mailbox, NOW)
    assert mailbox.connection.execute("SELECT state FROM mails").fetchall() == [("waiting",)]
    assert mailbox.counter("dropped") == 0


def test_unmailed_reports_are_evicted_oldest_first_and_counted(mailbox: Mailbox) -> None:
    record(mailbox, report("first"))
    count = fill(mailbox, "later")
    retention.evict(mailbox, NOW)
    assert left(mailbox, "first") == 0
    assert mailbox.counter("dropped") == 1 + count - left(mailbox, "later")
    assert mailbox.used_bytes() <= MAXIMUM * DATABASE_SHARE * retention.EVICT_TO


def test_waiting_mails_are_evicted_last_and_their_errors_counted(mailbox: Mailbox) -> None:
    for number in range(40):
        a_mail(mailbox, f"kind {number}", "waiting", size=30_000)
    retention.evict(mailbox, NOW)
    waiting = mailbox.connection.execute("SELECT count(*) FROM mails").fetchone()[0]
    assert 0 < waiting < 40
    assert mailbox.counter("dropped") == 10 * (40 - waiting)


def test_refused_mails_expire_and_are_counted(mailbox: Mailbox) -> None:
    for fingerprint, created in (("old", NOW - 100), ("new", NOW + 100)):
        record(mailbox, report(fingerprint))
        a_mail(mailbox, fingerprint, "failed", created=created)
    retention.expire_refused(mailbox, NOW)
    assert (left(mailbox, "old"), left(mailbox, "new")) == (0, 1)
    assert mailbox.connection.execute("SELECT fingerprint FROM mails").fetchall() == [("new",)]
    assert mailbox.counter("dropped") == 10


def test_more_reports_are_imported_after_an_eviction(mailbox: Mailbox) -> None:
    fill(mailbox, "f")
    retention.evict(mailbox, NOW)
    for _ in range(50):
        record(mailbox, report("after"))
    assert left(mailbox, "after") == 50


def test_the_number_of_dropped_errors_is_reported_once_a_window(
    mailbox: Mailbox, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    fill(mailbox, "f")
    retention.evict(mailbox, NOW)
    first = mailbox.counter("dropped")
    delivery.report_dropped(NOW)
    fill(mailbox, "f")
    retention.evict(mailbox, NOW)
    second = mailbox.counter("dropped")
    delivery.report_dropped(NOW + 299)
    delivery.report_dropped(NOW + 300)
    reported = [number(one) for one in caplog.records if "the spool was full" in one.msg]
    assert reported == [first, second]
    assert mailbox.counter("dropped") == 0


def test_while_no_mail_is_delivered_dropped_errors_are_only_logged(
    mailbox: Mailbox, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.add_to_counter("dropped", 7)
    for delivery.failures, moment in ((1, NOW), (0, NOW + 3600)):
        delivery.report_dropped(moment)
    in_log, reported = [record for record in caplog.records if "the spool was full" in record.msg]
    assert [number(in_log), number(reported)] == [7, 7]
    assert [in_log.mayday_unreported, reported.mayday_unreported] == [True, False]  # type: ignore[attr-defined]
    assert mailbox.counter("dropped") == 0


def test_a_full_spool_still_accepts_reports_and_all_are_mailed_or_counted(
    make_app: Callable[..., Flask],
    mail_settings: dict[str, object],
    wait_until: Callable[..., Any],
    read_log: Callable[[], str],
    tmp_path: Path,
) -> None:
    """The mail server is down, and more reports arrive than the spool can hold."""
    settings = {"SPOOL_MAX_BYTES": 4 << 20, "REPORT_WINDOW": 3600, "LOG_MAX_BYTES": 1 << 30}
    app = make_app(**mail_settings, **settings)
    courier = app.extensions["mayday"].courier
    courier.ensure_running()
    for number in range(3000):
        logging.getLogger("blog").error("%s %s", "x" * 1000, "abcdefgh"[number % 8])
        if number % 100 == 0:
            wait_until(lambda: len(courier.outbox.backlog) == 0, "space for what is in memory")
    wait_until(lambda: len(courier.outbox.backlog) == 0, "space for what is in memory")
    courier.stop(10)
    folder = tmp_path / "spool"
    ((in_mails,),) = query(folder, "SELECT coalesce(sum(count), 0) FROM mails")
    ((unmailed,),) = query(folder, "SELECT count(*) FROM reports WHERE mail_id IS NULL")
    ((dropped,),) = query(folder, "SELECT value FROM counters WHERE name = 'dropped'")
    logged = re.findall(r"(\d+) error reports were dropped because the spool was full", read_log())
    # No mail is delivered, so a report about the eviction would be evicted too.
    assert 0 < int(logged[-1]) <= dropped
    errors = 3000
    # A line can be written twice while the courier takes its file. It counts twice if the first
    # was evicted before the second arrived.
    assert errors <= in_mails + unmailed + dropped <= errors + 5
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sum(sizes.values()) <= 4 << 20


# Mail that is stuck


def test_mail_waiting_for_an_hour_is_logged_as_critical_once_an_hour(
    mailbox: Mailbox, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    a_mail(mailbox, "f", "waiting", created=NOW)
    for minutes in (0, 59, 60, 61, 119, 120, 121):
        delivery.log_stuck(NOW + minutes * 60)
    critical = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert [record.args[0] for record in critical] == [60, 120]  # type: ignore[index]
    # In the log only: a mail about stuck mail would be stuck too.
    assert all(record.mayday_unreported for record in critical)  # type: ignore[attr-defined]


def test_a_wal_larger_than_its_share_is_truncated(mailbox: Mailbox) -> None:
    """As with constant readers, which keep SQLite from copying it into the database."""
    record(mailbox, report())
    wal = mailbox.path.with_name("reports.db-wal")
    with closing(sqlite3.connect(mailbox.path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        while wal.stat().st_size <= MAXIMUM * WAL_SHARE:
            mailbox.keep_wal_small()
            assert wal.stat().st_size > 0
            writer.execute("UPDATE reports SET body = hex(randomblob(50000))")
        mailbox.keep_wal_small()
    assert wal.stat().st_size == 0


def test_the_counters_of_an_evicted_mail_are_deleted_with_it(mailbox: Mailbox) -> None:
    """SQLite gives its id to another mail."""
    number = a_mail(mailbox, "a", "waiting", size=int(mailbox.outbox.max_bytes * 0.5))
    mailbox.count_unconfirmed(StoredMail(number, b"", (), 0), 2)
    retention.evict(mailbox, 0.0)
    assert (
        mailbox.count_unconfirmed(StoredMail(a_mail(mailbox, "b", "waiting"), b"", (), 0), 0) == 0
    )
