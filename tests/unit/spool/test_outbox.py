"""The outbox: what was put into it is kept, whatever happens to the database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from flask_mayday.spool import outbox as outbox_module
from flask_mayday.spool.database import Row
from flask_mayday.spool.mailbox import Queue
from flask_mayday.spool.memory import Backlog
from flask_mayday.spool.outbox import LEFT_ALONE, NotDurableError, Outbox
from flask_mayday.spool.recovery import set_aside
from tests.support.reports import a_report, in_database

ROOM = 16 << 20  # bytes


def in_files(outbox: Outbox) -> list[Path]:
    return sorted(outbox.incoming.folder.iterdir()) if outbox.incoming.folder.exists() else []


@contextmanager
def locked(outbox: Outbox) -> Iterator[None]:
    """Let another connection hold the database's write lock."""
    other = sqlite3.connect(outbox.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def test_nothing_is_opened_before_the_first_report(outbox: Outbox) -> None:
    assert not outbox.folder.exists()


def test_a_report_is_in_the_database_at_once(outbox: Outbox) -> None:
    outbox.put(a_report("boom"), mailable=True)
    assert in_database(outbox) == ["boom"]
    assert in_files(outbox) == []


def test_the_database_is_what_its_description_says(outbox: Outbox) -> None:
    outbox.put(a_report(), mailable=True)
    connection = sqlite3.connect(outbox.path)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_database_of_a_later_version_is_used_as_it_is(outbox: Outbox) -> None:
    outbox.put(a_report("before"), mailable=True)
    other = sqlite3.connect(outbox.path)
    other.executescript("ALTER TABLE reports ADD COLUMN colour TEXT; PRAGMA user_version = 9;")
    other.close()
    again = Outbox(outbox.folder, outbox.max_bytes)
    again.put(a_report("after"), mailable=True)
    again.close()
    assert in_database(outbox) == ["before", "after"]


def test_a_report_that_arrives_twice_is_kept_once(outbox: Outbox) -> None:
    same = a_report()
    outbox.put(same, mailable=True)
    outbox.put(same, mailable=True)
    assert len(in_database(outbox)) == 1


def test_a_locked_database_makes_nobody_wait(
    outbox: Outbox, wait_until: Callable[..., object]
) -> None:
    outbox.put(a_report("before"), mailable=True)
    with locked(outbox):
        started = time.monotonic()
        outbox.put(a_report("meanwhile"), mailable=True)
        assert time.monotonic() - started < 1  # 0.1 s and a file, on a busy machine
        (file,) = in_files(outbox)
        assert "meanwhile" in file.read_text()

    def arrives_in_the_database() -> bool:
        outbox.put(a_report("after"), mailable=True)
        return "after" in in_database(outbox)

    wait_until(arrives_in_the_database, "the end of the second for which it is left alone", 5)


def test_a_database_that_is_locked_is_tried_once_a_second(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put(a_report("before"), mailable=True)
    tries = []
    write = outbox_module.insert

    def insert(connection: sqlite3.Connection, row: Row) -> None:
        tries.append(time.monotonic())
        write(connection, row)

    monkeypatch.setattr(outbox_module, "insert", insert)
    with locked(outbox):
        for number in range(20):
            outbox.put(a_report(str(number)), mailable=True)
    assert len(in_files(outbox)) == 20
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert all(pause >= LEFT_ALONE for pause in pauses)


def test_a_database_of_the_first_version_gets_what_was_added(outbox: Outbox) -> None:
    outbox.put(a_report("before"), mailable=True)
    other = sqlite3.connect(outbox.path)
    other.executescript("DROP TABLE counters; PRAGMA user_version = 1;")
    other.close()
    again = Outbox(outbox.folder, outbox.max_bytes)
    again.put(a_report("after"), mailable=True)
    again.close()
    other = sqlite3.connect(outbox.path)
    assert other.execute("SELECT count(*) FROM counters").fetchone() == (0,)
    assert other.execute("PRAGMA user_version").fetchone() == (2,)
    other.close()
    assert in_database(outbox) == ["before", "after"]


def test_the_courier_takes_in_what_was_left_in_files(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report("before"), mailable=True)
    with locked(outbox):
        outbox.put(a_report("meanwhile"), mailable=True)
        outbox.put(a_report("not to be mailed"), mailable=False)
    queue = queue_of()
    queue.take_incoming()
    assert sorted(in_database(outbox)) == ["before", "meanwhile", "not to be mailed"]
    assert in_files(outbox) == []
    assert queue.span("f")[1] == 2


def test_a_file_that_was_taken_in_but_not_deleted_is_no_second_report(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report("first"), mailable=True)
    with locked(outbox):
        outbox.put(a_report("meanwhile"), mailable=True)
    (file,) = in_files(outbox)
    copy = file.read_bytes()
    queue = queue_of()
    queue.take_incoming()
    file.write_bytes(copy)  # as if the courier had been killed just before it deleted it
    queue.take_incoming()
    assert in_database(outbox) == ["first", "meanwhile"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"body": "{}"}',
        b'{"body": "[]"}',
        b'{"mailable": true, "body": 7}',
        b'{"mailable": true, "body": "null"}',
    ],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_holds_nothing_up(
    outbox: Outbox, queue_of: Callable[[], Queue], content: bytes
) -> None:
    outbox.put(a_report("first"), mailable=True)
    outbox.incoming.folder.mkdir()
    (outbox.incoming.folder / ("0" * 32)).write_bytes(content)
    with locked(outbox):
        outbox.put(a_report("second"), mailable=True)
    queue_of().take_incoming()
    assert in_database(outbox) == ["first", "second"]
    assert [file.suffix for file in in_files(outbox)] == [".unreadable"]


def test_a_file_that_is_half_written_is_left_alone(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report("first"), mailable=True)
    outbox.incoming.folder.mkdir()
    part = outbox.incoming.folder / f"{'0' * 32}.part"
    part.write_text('{"mailable":')
    queue_of().take_incoming()
    assert in_files(outbox) == [part]


def test_a_folder_among_the_files_holds_nothing_up(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report("first"), mailable=True)
    (outbox.incoming.folder / "folder").mkdir(parents=True)
    with locked(outbox):
        outbox.put(a_report("second"), mailable=True)
    queue_of().take_incoming()
    assert in_database(outbox) == ["first", "second"]


def test_a_deleted_database_is_noticed(outbox: Outbox) -> None:
    """SQLite itself goes on writing into a file that nobody can see any more."""
    outbox.put(a_report("before"), mailable=True)
    for file in outbox.folder.glob("reports.db*"):
        file.unlink()
    outbox.put(a_report("after"), mailable=True)
    assert in_database(outbox) == ["after"]


def test_a_deleted_folder_is_made_anew(outbox: Outbox) -> None:
    outbox.put(a_report("before"), mailable=True)
    shutil.rmtree(outbox.folder)
    outbox.put(a_report("after"), mailable=True)
    assert in_database(outbox) == ["after"]


def test_the_courier_notices_a_deleted_database(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report(), mailable=True)
    queue = queue_of()
    assert queue.is_current()
    outbox.path.unlink()
    assert not queue.is_current()


def test_a_database_that_is_none_loses_no_report(outbox: Outbox) -> None:
    outbox.folder.mkdir()
    outbox.path.write_bytes(b"this is no database" * 1000)
    outbox.put(a_report("boom"), mailable=True)
    (file,) = in_files(outbox)
    assert "boom" in file.read_text()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outbox = Outbox(tmp_path / "file" / "spool", ROOM)
    with pytest.raises(NotDurableError, match="Not a directory"):
        outbox.put(a_report(), mailable=True)


def test_what_the_disk_refuses_is_kept_in_memory_until_it_is_mended(
    outbox: Outbox,
) -> None:
    outbox.folder.touch()  # a file where the folder should be
    for number in range(3):
        with pytest.raises(NotDurableError):
            outbox.put(a_report(f"held {number}"), mailable=True)
    outbox.flush()
    assert len(outbox.backlog) == 3
    outbox.folder.unlink()
    outbox.flush()
    assert in_database(outbox) == ["held 0", "held 1", "held 2"]
    assert len(outbox.backlog) == 0


def test_a_report_that_gets_through_takes_one_with_it_that_was_held(outbox: Outbox) -> None:
    """In a process without a courier nobody else would write it."""
    outbox.folder.touch()
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    outbox.put(a_report("after"), mailable=True)
    assert sorted(in_database(outbox)) == ["after", "held"]


def test_what_memory_has_no_room_for_is_counted(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.folder.touch()
    outbox.backlog = Backlog(5000)  # bytes
    for number in range(100):
        with pytest.raises(NotDurableError):
            outbox.put(a_report(f"{number} of them"), mailable=True)
    outbox.folder.unlink()
    outbox.flush()
    kept = len(in_database(outbox))
    assert 5 < kept < 50
    assert f"{100 - kept} errors are in the log only" in caplog.text
    caplog.clear()
    outbox.flush()
    assert caplog.text == ""


def test_a_child_writes_what_its_parent_holds_and_it_is_kept_once(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    """gunicorn's master has no courier to write it later; the workers that it forks have."""
    outbox.folder.touch()
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    assert in_child(outbox.flush) == 0
    assert in_database(outbox) == ["held"]
    outbox.flush()
    assert in_database(outbox) == ["held"]


def test_a_child_does_not_tell_what_its_parent_has_lost(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.folder.touch()
    outbox.backlog = Backlog(0)
    with pytest.raises(NotDurableError):
        outbox.put(a_report("lost"), mailable=True)

    def look() -> None:
        assert outbox.backlog.take_lost() == 0

    assert in_child(look) == 0
    assert outbox.backlog.take_lost() == 1


def test_a_database_moved_away_while_it_is_written_loses_no_report(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier sets a broken one aside between a producer's insert and its look."""
    outbox.put(a_report("before"), mailable=True)
    write = outbox_module.insert

    def insert(connection: sqlite3.Connection, row: Row) -> None:
        write(connection, row)
        monkeypatch.undo()
        set_aside(outbox.path)

    monkeypatch.setattr(outbox_module, "insert", insert)
    outbox.put(a_report("after"), mailable=True)
    assert in_database(outbox) == ["after"]


def put_many(outbox: Outbox) -> None:
    for _ in range(1000):
        outbox.put(a_report("x" * 1000), mailable=True)


def test_the_files_are_bounded_too(outbox: Outbox) -> None:
    small = Outbox(outbox.folder, 200_000)
    small.put(a_report("before"), mailable=True)
    with (
        locked(small),
        pytest.raises(
            NotDurableError, match=r"incoming is full \(a part of SPOOL_MAX_BYTES: 50000\)"
        ),
    ):
        put_many(small)
    size = sum(path.stat().st_size for path in in_files(small))
    assert 25_000 < size <= 50_000
    small.close()


def test_the_database_is_bounded_and_what_it_refuses_is_held(outbox: Outbox) -> None:
    small = Outbox(outbox.folder, 400_000)
    with pytest.raises(NotDurableError, match="full"):
        put_many(small)
    assert small.path.stat().st_size <= 200_000
    assert in_files(small) == []
    assert len(small.backlog) == 1
    small.close()


def test_threads_do_not_lose_reports(outbox: Outbox, queue_of: Callable[[], Queue]) -> None:
    def put(name: int) -> None:
        for number in range(50):
            outbox.put(a_report(f"{name} {number}"), mailable=True)

    threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue_of().take_incoming()
    assert len(set(in_database(outbox))) == 200


def test_parent_and_child_both_go_on_after_a_fork(
    outbox: Outbox,
    queue_of: Callable[[], Queue],
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    outbox.put(a_report("parent before"), mailable=True)

    def child() -> None:
        for number in range(20):
            outbox.put(a_report(f"child {number}"), mailable=True)

    assert in_child(child) == 0
    outbox.put(a_report("parent after"), mailable=True)
    queue_of().take_incoming()
    assert len(in_database(outbox)) == 22
    assert {"parent before", "parent after"} < set(in_database(outbox))


def test_no_connection_is_carried_through_a_fork(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.put(a_report(), mailable=True)

    def look() -> None:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        opened = [os.readlink(link) for link in links if os.path.lexists(link)]
        assert not [path for path in opened if path.startswith(str(outbox.path))]

    assert in_child(look) == 0


def test_several_outboxes_survive_forks_from_several_threads(tmp_path: Path) -> None:
    outboxes = [Outbox(tmp_path / str(number), ROOM) for number in range(3)]
    for made in outboxes:
        made.put(a_report(), mailable=True)

    def fork_often() -> None:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)

    threads = [threading.Thread(target=fork_often, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        for made in outboxes:
            made.put(a_report(str(number)), mailable=True)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for made in outboxes:
        assert made._lock.acquire(timeout=1)
        made._lock.release()
        made.close()
