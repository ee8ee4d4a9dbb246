"""The courier: one delivery thread that survives a lost lease and a broken spool."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.courier import courier as courier_module
from flask_mayday.courier import delivery as delivery_module
from flask_mayday.courier import lease as lease_module
from flask_mayday.courier.courier import Courier
from flask_mayday.courier.lease import Lease, is_locked
from flask_mayday.settings import read_settings
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import NotDurableError, Outbox
from flask_mayday.spool.recovery import quarantine
from tests.support.reports import a_mail, a_report, in_database, query

EPOCH = "SELECT value FROM counters WHERE name = 'epoch'"
Settings = dict[str, object]


def a_courier(settings: Settings, outbox: Outbox | None = None) -> Courier:
    read = read_settings(settings)
    outbox = outbox or Outbox(read.spool.folder, read.spool.max_bytes)
    return Courier(outbox, mail=read.mail, reports=read.reports, app=read.app)


@pytest.fixture
def courier(settings: Settings, mail_settings: Settings) -> Iterator[Courier]:
    made = a_courier({**settings, **mail_settings})
    yield made
    made.stop(10)
    made.outbox.close()


def couriers() -> int:
    return sum(thread.name == "courier" for thread in threading.enumerate())


def test_a_child_forked_during_the_start_of_the_thread_can_start_its_own(
    courier: Courier, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def start() -> None:
        signal.alarm(60)
        courier.ensure_running()
        courier.stop(5)

    with courier._starting:
        assert in_child(start) == 0


def test_a_child_forked_while_another_thread_wakes_the_courier_can_wake_its_own(
    courier: Courier, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def wake() -> None:
        signal.alarm(30)
        courier.wake()

    with courier._wake._cond:
        assert in_child(wake) == 0


def test_a_failing_command_does_not_wait_for_a_mail_that_is_due_after_its_end(
    settings: Settings, mail_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "backoff", lambda _tries: 100.0)
    courier = a_courier({**settings, **mail_settings, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": 1})
    courier.outbox.put(a_report(), mailable=True)
    courier.wake()
    started = time.monotonic()
    courier.deliver_before_exit(90)
    assert time.monotonic() - started < 45
    assert query(courier.outbox.folder, "SELECT state FROM mails") == [("waiting",)]


def test_the_thread_is_started_only_once(courier: Courier) -> None:
    before = couriers()
    threads = [threading.Thread(target=courier.ensure_running) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert couriers() == before + 1
    courier.stop(10)
    assert couriers() == before


def test_a_child_runs_a_thread_of_its_own(
    courier: Courier, in_child: Callable[[Callable[[], object]], int]
) -> None:
    courier.ensure_running()

    def child() -> None:
        assert couriers() == 0
        courier.ensure_running()
        assert couriers() == 1

    assert in_child(child) == 0


def test_a_damaged_database_is_replaced_and_waiting_files_are_imported(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    outbox.folder.mkdir(parents=True)
    outbox.path.write_bytes(b"this is no database" * 1000)
    outbox.put(a_report(), mailable=True)
    courier.ensure_running()
    wait_until(lambda: not list(outbox.incoming.folder.iterdir()), "an empty folder")
    wait_until(lambda: outbox.path.read_bytes().startswith(b"SQLite format 3"), "a database")
    (kept,) = outbox.folder.glob("reports.db.corrupt-*")
    assert kept.read_bytes().startswith(b"this is no database")


def test_readable_rows_of_a_damaged_database_are_in_the_new_one(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    with closing(Mailbox(outbox)) as mailbox:
        for number in range(100):
            outbox.put(a_report("x" * 4000, fingerprint=f"kind {number}"), mailable=True)
        mailbox.take_incoming()
    with outbox.path.open("r+b") as file:
        file.seek(outbox.path.stat().st_size // 2)
        file.write(b"\xff" * 40_960)
    courier.ensure_running()
    wait_until(lambda: list(outbox.folder.glob("reports.db.corrupt-*")), "a copied database")

    def kinds() -> set[str]:
        rows = query(outbox.folder, "SELECT fingerprint FROM reports")
        return {kind for (kind,) in rows}

    wait_until(lambda: kinds() >= {"kind 0", "kind 99"}, "the first and the last")
    assert 50 < len(kinds()) < 100


def test_a_courier_recovers_a_database_quarantined_by_a_killed_one(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    courier.outbox.put(a_report("boom"), mailable=True)
    with closing(Mailbox(courier.outbox)) as mailbox:
        mailbox.take_incoming()
    quarantine(courier.outbox.path)
    courier.ensure_running()
    wait_until(lambda: "boom" in in_database(courier.outbox), "the report")


def test_a_process_without_the_lease_also_writes_reports_held_in_memory(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    outbox.folder.parent.mkdir(parents=True, exist_ok=True)
    outbox.folder.touch()  # a file where the folder should be
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    other = Lease(outbox.folder)
    assert other.acquire()
    courier.ensure_running()
    wait_until(lambda: not len(outbox.backlog), "nothing in memory")
    other.release()


def test_an_error_of_the_spool_does_not_end_the_thread(
    courier: Courier, wait_until: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    courier.outbox.folder.parent.mkdir(exist_ok=True)
    courier.outbox.folder.touch()  # a file where the folder should be
    courier.ensure_running()
    wait_until(lambda: "Cannot deliver from" in caplog.text, "the error")
    courier.outbox.folder.unlink()
    wait_until(lambda: (courier.outbox.folder / "courier.lock").exists(), "the courier's lock")


# The lease


def test_a_new_report_of_another_process_is_imported_without_a_call(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    courier.ensure_running()
    wait_until(courier.outbox.path.exists, "the database")
    other = Outbox(courier.outbox.folder, courier.outbox.max_bytes)
    begun = time.monotonic()
    other.put(a_report("boom"), mailable=True)
    wait_until(lambda: "boom" in in_database(other), "the report")
    assert time.monotonic() - begun < 10  # 0.3 s, on a quiet machine
    other.close()


def test_a_lease_is_released_when_its_file_is_deleted(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    """Otherwise another process would lock the new file, and two would deliver."""
    courier.ensure_running()
    wait_until(lambda: courier.outbox.path.exists() and courier.lease.is_held(), "the lease")
    courier.lease.path.unlink()
    other = Lease(courier.outbox.folder)
    assert other.acquire()
    assert not courier.lease.is_held()
    other.release()
    wait_until(lambda: courier.lease.is_held(), "the lease on the new file")


SCRIPT = """
import sys, threading, time
sys.path.insert(0, ".")
from pathlib import Path
from flask_mayday.courier.courier import Courier
from flask_mayday.settings import read_settings
from flask_mayday.spool.outbox import Outbox
folder, port = Path(sys.argv[1]), sys.argv[2]
read = read_settings({"SPOOL_DIR": folder, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port,
                      "MAIL_FROM": "a@b.example", "ADMINS": "a@b.example", "SECRET_KEY": "k" * 40})
courier = Courier(Outbox(folder, 1 << 24), mail=read.mail, reports=read.reports, app=read.app)
{before}
courier.ensure_running()
time.sleep(600)
"""
# The courier stops in the middle of its first transaction, while it holds SQLite's lock.
IN_A_TRANSACTION = """
import os, signal
from flask_mayday.spool.grouping import GroupedInserts
def stop(*_):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)  # in case this thread runs on for a moment
GroupedInserts.insert = stop
"""


@pytest.fixture
def start_other(courier: Courier) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a process with a courier of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(before: str = "") -> subprocess.Popen[bytes]:
        script = SCRIPT.replace("{before}", before)
        command = [sys.executable, "-c", script, str(courier.outbox.folder), "1"]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_frozen_courier_is_taken_over_and_can_change_nothing_when_it_continues(
    courier: Courier,
    start_other: Callable[..., subprocess.Popen[bytes]],
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a paused container, which keeps its locks."""
    monkeypatch.setattr(lease_module, "EXPIRY", 2.0)
    outbox = courier.outbox
    frozen = start_other()
    wait_until(lambda: outbox.path.exists() and is_locked(outbox.folder), "the other courier")
    wait_until(lambda: query(outbox.folder, EPOCH) == [(1,)], "its epoch")
    frozen.send_signal(signal.SIGSTOP)
    courier.ensure_running()
    outbox.put(a_report("meanwhile"), mailable=True)
    wait_until(lambda: "meanwhile" in in_database(outbox), "the report")
    assert courier.lease.is_held()
    assert query(outbox.folder, EPOCH) == [(2,)]
    frozen.send_signal(signal.SIGCONT)
    time.sleep(1)  # time in which it must not change anything
    assert courier.lease.is_held()
    assert query(outbox.folder, EPOCH) == [(2,)]


def test_a_courier_frozen_in_a_transaction_is_taken_over_with_a_copy_of_the_database(
    courier: Courier,
    start_other: Callable[..., subprocess.Popen[bytes]],
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite's write lock cannot be taken from it."""
    monkeypatch.setattr(lease_module, "EXPIRY", 1.0)
    monkeypatch.setattr(courier_module, "BUSY_TIMEOUT", 0.5)
    outbox = courier.outbox
    with closing(Mailbox(outbox)) as mailbox:
        outbox.put(a_report("before"), mailable=True)
        mailbox.take_incoming()
    outbox.put(a_report("taken in by nobody yet"), mailable=True)
    frozen = start_other(IN_A_TRANSACTION)
    wait_until(lambda: Path(f"/proc/{frozen.pid}/stat").read_text().split()[2] == "T", "the stop")
    courier.ensure_running()
    wanted = {"before", "taken in by nobody yet"}
    wait_until(lambda: wanted <= set(in_database(outbox)), "both reports")
    (kept,) = outbox.folder.glob("reports.db.corrupt-*[Z]")
    assert kept.exists()


def test_health_names_a_lease_that_is_not_renewed(
    courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Lease(courier.outbox.folder)
    assert other.acquire()
    assert courier.state()["mail"] == "ok"
    os.utime(other.path, (1, 1))
    words = "not being delivered: the process that sends mail has not responded since 1970-01-01"
    assert courier.state()["mail"].startswith(words)
    other.renew()
    assert courier.state()["mail"] == "ok"
    other.release()


def test_health_counts_mails_that_were_refused(courier: Courier) -> None:
    with closing(Mailbox(courier.outbox)) as mailbox:
        a_mail(mailbox, "f", "failed")
    assert courier.state()["mail"] == "1 mail refused for good"


def test_the_lease_is_not_inherited_by_child_programs(courier: Courier) -> None:
    assert courier.lease.acquire()
    listing = (
        "import os, json; print(json.dumps([os.readlink(f'/proc/self/fd/{n}')"
        " for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, check=True, close_fds=False
    ).stdout
    courier.lease.release()
    assert not [path for path in json.loads(output) if "courier.lock" in path]
