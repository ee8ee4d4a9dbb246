"""The courier: one thread that delivers, whatever becomes of its lock and its spool."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.courier.courier import Courier
from flask_mayday.settings import read_settings
from flask_mayday.spool.database import opened
from flask_mayday.spool.outbox import NotDurableError, Outbox
from flask_mayday.spool.recovery import set_aside
from tests.support.reports import a_report, in_database


@pytest.fixture
def courier(settings: dict[str, object], mail_settings: dict[str, object]) -> Iterator[Courier]:
    read = read_settings({**settings, **mail_settings})
    outbox = Outbox(read.spool.folder, read.spool.max_bytes)
    made = Courier(read, outbox)
    yield made
    made.stop(10)
    outbox.close()


def couriers() -> int:
    return sum(thread.name == "courier" for thread in threading.enumerate())


def test_the_thread_runs_once_however_often_it_is_asked_for(courier: Courier) -> None:
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


def test_a_broken_database_is_replaced_and_what_was_left_in_files_is_taken_in(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    outbox.folder.mkdir(parents=True)
    outbox.path.write_bytes(b"this is no database" * 1000)
    outbox.put(a_report(), mailable=True)
    courier.ensure_running()
    wait_until(lambda: not list(outbox.incoming.folder.iterdir()), "an empty folder")
    wait_until(lambda: outbox.path.read_bytes().startswith(b"SQLite format 3"), "a database")
    (aside,) = outbox.folder.glob("reports.db.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")


def test_what_can_be_read_of_a_broken_database_is_in_the_new_one(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    for number in range(100):
        outbox.put(a_report("x" * 4000, fingerprint=f"kind {number}"), mailable=True)
    outbox.close()
    with outbox.path.open("r+b") as file:
        file.seek(outbox.path.stat().st_size // 2)
        file.write(b"\xff" * 40_960)
    courier.ensure_running()
    wait_until(lambda: list(outbox.folder.glob("reports.db.corrupt-*")), "a database set aside")

    def kinds() -> set[str]:
        with closing(opened(outbox.path, 10)[0]) as spool:
            return {kind for (kind,) in spool.execute("SELECT fingerprint FROM reports")}

    wait_until(lambda: kinds() >= {"kind 0", "kind 99"}, "the first and the last")
    assert 50 < len(kinds()) < 100


def test_a_courier_goes_on_with_what_another_that_was_killed_has_set_aside(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    courier.outbox.put(a_report("boom"), mailable=True)
    courier.outbox.close()
    set_aside(courier.outbox.path)
    courier.ensure_running()
    wait_until(courier.outbox.path.exists, "a new database")
    wait_until(lambda: "boom" in in_database(courier.outbox), "the report")


def test_a_process_that_does_not_deliver_writes_what_it_holds_too(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    outbox = courier.outbox
    outbox.folder.parent.mkdir(parents=True, exist_ok=True)
    outbox.folder.touch()  # a file where the folder should be
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    other = Courier(courier.settings, Outbox(outbox.folder, outbox.max_bytes))
    with other._lock() as held:
        assert held
        courier.ensure_running()
        wait_until(lambda: not len(outbox.backlog), "nothing held in memory")


def test_trouble_with_the_spool_does_not_end_the_thread(
    courier: Courier, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    courier.outbox.folder.parent.mkdir(exist_ok=True)
    courier.outbox.folder.touch()  # a file where the folder should be
    courier.ensure_running()
    courier.outbox.folder.unlink()
    wait_until(lambda: (courier.outbox.folder / "courier.lock").exists(), "the courier's lock")


def test_only_one_courier_delivers_at_a_time(courier: Courier) -> None:
    other = Courier(courier.settings, Outbox(courier.outbox.folder, courier.outbox.max_bytes))
    with courier._lock() as first:
        assert first
        with other._lock() as second:
            assert not second
    with other._lock() as second:
        assert second


def test_a_lock_that_was_deleted_is_given_up(
    courier: Courier, wait_until: Callable[..., Any]
) -> None:
    """Another would lock the new file, and there would be two who deliver."""
    other = Courier(courier.settings, Outbox(courier.outbox.folder, courier.outbox.max_bytes))

    def other_delivers() -> bool:
        with other._lock() as held:
            return held

    courier.ensure_running()
    wait_until(lambda: courier.outbox.path.exists() and not other_delivers(), "one that delivers")
    courier.lock_path.unlink()
    with other._lock() as held:
        assert held
        assert not courier._holds_lock()
    wait_until(lambda: courier._holds_lock() and not other_delivers(), "the same on the new file")


def test_the_lock_is_not_handed_to_programs_that_are_started(courier: Courier) -> None:
    with courier._lock():
        listing = (
            "import os, json; print(json.dumps([os.readlink(f'/proc/self/fd/{n}')"
            " for n in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{n}')]))"
        )
        output = subprocess.run(
            [sys.executable, "-c", listing], capture_output=True, check=True, close_fds=False
        ).stdout
    assert not [path for path in json.loads(output) if "courier.lock" in path]
