"""A copy of the spool is consistent: no courier works on the spool meanwhile."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.courier import snapshot
from flask_mayday.courier.lease import Lease
from flask_mayday.courier.snapshot import copy_spool, keep_undelivered
from flask_mayday.spool.database import Database, LeaseLostError
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.stored_report import StoredReport
from tests.support.reports import a_report


def counts(folder: Path) -> tuple[int, int]:
    """Return how many reports are in the database, and how many files wait."""
    with closing(sqlite3.connect(folder / "reports.db")) as database:
        (number,) = database.execute("SELECT count(*) FROM reports").fetchone()
    return number, len(list((folder / "incoming").iterdir()))


def test_the_database_and_the_waiting_reports_are_copied(
    outbox: Outbox, mailbox_of: Callable[[], Any], tmp_path: Path
) -> None:
    outbox.put(a_report(), mailable=True)
    mailbox_of().take_incoming()
    outbox.put(a_report(), mailable=True)
    copy_spool(outbox.folder, tmp_path / "copy")
    assert counts(tmp_path / "copy") == (1, 1)


def test_a_courier_ends_its_work_before_the_copy_and_goes_on_after_it(
    outbox: Outbox, mailbox_of: Callable[[], Any], tmp_path: Path
) -> None:
    mailbox_of()
    courier = Lease(outbox.folder)
    assert courier.acquire()
    copying = threading.Thread(target=copy_spool, args=(outbox.folder, tmp_path / "copy"))
    copying.start()
    while courier.is_held():
        pass
    assert copying.is_alive()  # it waits for the courier
    assert not (tmp_path / "copy" / "reports.db").exists()
    courier.release()
    copying.join(60)
    assert (tmp_path / "copy" / "reports.db").exists()
    assert courier.acquire()
    courier.release()


def test_a_frozen_courier_can_write_nothing_any_more(
    outbox: Outbox,
    mailbox_of: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "HOLDER_TIMEOUT", 0.1)
    mailbox_of()
    frozen = Database(outbox.path)
    frozen.take_over()
    lock = os.open(outbox.folder / "courier.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    copy_spool(outbox.folder, tmp_path / "copy")
    with pytest.raises(LeaseLostError), frozen.transaction():
        pass
    frozen.close()
    os.close(lock)


def test_an_empty_spool_can_be_copied(tmp_path: Path) -> None:
    copy_spool(tmp_path / "spool", tmp_path / "copy")
    assert list((tmp_path / "copy" / "incoming").iterdir()) == []


def test_undelivered_reports_are_kept_when_the_database_is_replaced(
    outbox: Outbox, mailbox_of: Callable[[], Any], tmp_path: Path
) -> None:
    report = a_report()
    outbox.put(report, mailable=True)
    outbox.put(a_report(), mailable=False)  # never mailed
    mailbox_of().take_incoming()
    incoming = tmp_path / "new" / "incoming"
    incoming.mkdir(parents=True)
    assert keep_undelivered(outbox.path, incoming) == 1
    (file,) = incoming.iterdir()
    assert StoredReport.from_line(file.read_bytes()).uuid == report.uuid
    assert keep_undelivered(tmp_path / "nothing", incoming) == 0
