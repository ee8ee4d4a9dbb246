"""incoming/: whole files and lines, taken in once, whoever is killed in between."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_mayday.report.report import Report
from flask_mayday.spool import overflow as incoming_module
from flask_mayday.spool.database import Row
from flask_mayday.spool.mailbox import AT_ONCE, Queue
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.overflow import LINES, TAKEN, UNREADABLE, Incoming
from tests.support.reports import a_report, in_database


def repeat(message: str) -> Report:
    return a_report(message, like="another")


@pytest.fixture
def queue(outbox: Outbox) -> Iterator[Queue]:
    made = Queue(outbox)
    yield made
    made.close()


def files(outbox: Outbox, suffix: str) -> list[Path]:
    folder = outbox.incoming.folder
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


def test_a_repeat_is_a_line_of_its_process_and_taken_in_with_the_next_round(
    outbox: Outbox, queue: Queue
) -> None:
    for number in range(5):
        outbox.put(repeat(f"repeat {number}"), mailable=number > 0)
    (file,) = files(outbox, LINES)
    assert str(os.getpid()) in file.name
    assert in_database(outbox) == []
    queue.take_incoming()
    assert in_database(outbox) == [f"repeat {number}" for number in range(5)]
    assert list(outbox.incoming.folder.iterdir()) == []
    mailable = queue.connection.execute("SELECT sum(mailable) FROM reports").fetchone()
    assert mailable == (4,)


def test_after_the_courier_has_taken_its_file_a_process_begins_another(
    outbox: Outbox, queue: Queue
) -> None:
    for number in range(3):
        outbox.put(repeat(f"repeat {number}"), mailable=True)
        queue.take_incoming()
    outbox.put(repeat("repeat 3"), mailable=True)
    queue.take_incoming()
    assert in_database(outbox) == [f"repeat {number}" for number in range(4)]


def test_a_line_written_after_the_courier_has_read_the_file_is_not_lost(
    outbox: Outbox, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier comes between a process's open file and its write."""
    outbox.put(repeat("before"), mailable=True)
    write = Incoming._append

    def late(self: Incoming, line: bytes) -> None:
        monkeypatch.undo()
        queue.take_incoming()
        write(self, line)

    monkeypatch.setattr(Incoming, "_append", late)
    outbox.put(repeat("after"), mailable=True)
    queue.take_incoming()
    assert in_database(outbox) == ["before", "after"]


def test_a_line_read_before_its_writer_looks_is_kept_once(
    outbox: Outbox, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier comes between a process's write and its look."""
    look = incoming_module.identity

    def late(path: str) -> tuple[int, int]:
        monkeypatch.undo()
        queue.take_incoming()
        return look(path)

    monkeypatch.setattr(incoming_module, "identity", late)
    outbox.put(repeat("once"), mailable=True)
    queue.take_incoming()
    assert in_database(outbox) == ["once"]


def test_lines_of_threads_and_processes_beside_a_courier_are_all_kept_once(
    outbox: Outbox, queue: Queue, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def put(name: str) -> None:
        for number in range(300):
            outbox.put(repeat(f"{name} {number}"), mailable=True)

    def child() -> None:
        put("child")

    done = threading.Event()
    statuses = []
    threads = [threading.Thread(target=put, args=(f"thread {n}",)) for n in range(3)]
    threads.append(threading.Thread(target=lambda: statuses.append(in_child(child))))

    def take() -> None:
        own = Queue(outbox)
        while not done.is_set():
            own.take_incoming()
        own.close()

    courier = threading.Thread(target=take)
    courier.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    courier.join()
    queue.take_incoming()
    assert statuses == [0]
    names = ("thread 0", "thread 1", "thread 2", "child")
    assert sorted(in_database(outbox)) == sorted(
        f"{name} {n}" for name in names for n in range(300)
    )


def test_a_file_half_taken_in_by_a_courier_that_was_killed_is_taken_in_once(
    outbox: Outbox, queue: Queue
) -> None:
    for number in range(AT_ONCE + 5):
        outbox.put(repeat(str(number)), mailable=True)

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.take_incoming(killed)
    assert len(in_database(outbox)) == AT_ONCE
    assert len(files(outbox, TAKEN)) == 1
    queue.take_incoming()
    assert in_database(outbox) == [str(number) for number in range(AT_ONCE + 5)]
    assert list(outbox.incoming.folder.iterdir()) == []


def test_a_file_taken_into_a_database_that_was_just_deleted_is_not_lost(
    outbox: Outbox, queue: Queue
) -> None:
    outbox.put(repeat("boom"), mailable=True)
    queue.take_incoming(lambda: outbox.path.unlink())
    assert len(files(outbox, TAKEN)) == 1
    another = Queue(outbox)
    another.take_incoming()
    another.close()
    assert in_database(outbox) == ["boom"]


@pytest.mark.parametrize("line", [b'{"mailable": true, "bo\n', b"\n", b"\xff\n"])
def test_a_line_that_cannot_be_read_costs_the_others_nothing_and_is_kept_for_a_look(
    outbox: Outbox, queue: Queue, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    outbox.put(repeat("before"), mailable=True)
    (file,) = files(outbox, LINES)
    with file.open("ab") as broken:
        broken.write(line)
    outbox.put(repeat("after"), mailable=True)
    queue.take_incoming()
    assert in_database(outbox) == ["before", "after"]
    (aside,) = files(outbox, UNREADABLE)
    assert str(aside) in caplog.text


@pytest.mark.parametrize("written", [0, 1, 20])
@pytest.mark.parametrize("lines", [0, 2])
def test_a_process_killed_while_it_appends_leaves_nothing_behind(
    outbox: Outbox,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
    in_child: Callable[[Callable[[], object]], int],
    written: int,
    lines: int,
) -> None:
    """Nobody has seen the answer to its request, and the end of the worker is reported."""

    def killed(self: Incoming, line: bytes) -> None:
        os.write(self._file, line[:written])
        os.kill(os.getpid(), signal.SIGKILL)

    def append() -> None:
        for number in range(lines):
            outbox.put(repeat(str(number)), mailable=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Incoming, "_append", killed)
            outbox.put(repeat("never answered"), mailable=True)

    assert in_child(append) == -signal.SIGKILL
    assert len(files(outbox, LINES)) == 1
    queue.take_incoming()
    assert in_database(outbox) == [str(number) for number in range(lines)]
    assert list(outbox.incoming.folder.iterdir()) == []
    assert caplog.text == ""


def test_a_file_that_cannot_be_read_for_want_of_descriptors_is_taken_in_later(
    outbox: Outbox, queue: Queue, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.put(repeat("boom"), mailable=True)
    listdir = os.listdir

    def and_take_the_rest(folder: Path) -> list[str]:
        names = listdir(folder)
        with contextlib.suppress(OSError):
            while True:
                os.open(os.devnull, os.O_RDONLY)
        return names

    def take() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(incoming_module.os, "listdir", and_take_the_rest)
            with pytest.raises(OSError, match="Too many open files"):
                list(outbox.incoming.take())

    assert in_child(take) == 0
    queue.take_incoming()
    assert in_database(outbox) == ["boom"]


def test_a_file_of_another_users_that_cannot_be_read_is_told_of(
    outbox: Outbox,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As one that a command of root's has left: it can be renamed, and nothing else."""

    def refuse(*_: object) -> None:
        raise PermissionError

    outbox.incoming.folder.mkdir(parents=True)
    (outbox.incoming.folder / f"root{LINES}").write_text("no report\n")
    monkeypatch.setattr(incoming_module.os, "utime", refuse)
    queue.take_incoming()
    assert "A report in the spool cannot be read" in caplog.text


def test_a_full_disk_leaves_no_half_line(
    outbox: Outbox, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put(repeat("before"), mailable=True)
    write = os.write

    def half(file: int, data: bytes) -> int:
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(incoming_module.os, "write", half)
    outbox.put(repeat("goes into the database"), mailable=True)
    monkeypatch.undo()
    outbox.put(repeat("after"), mailable=True)
    assert in_database(outbox) == ["goes into the database"]
    queue.take_incoming()
    assert sorted(in_database(outbox)) == ["after", "before", "goes into the database"]
    assert files(outbox, UNREADABLE) == []


def test_where_lines_cannot_be_written_the_database_takes_the_repeat(outbox: Outbox) -> None:
    outbox.folder.mkdir()
    outbox.incoming.folder.touch()  # a file where the folder should be
    outbox.put(repeat("boom"), mailable=True)
    assert in_database(outbox) == ["boom"]


def test_what_the_folder_may_hold_is_bounded(tmp_path: Path) -> None:
    small = Incoming(tmp_path / "incoming", 10_000)

    def append_many() -> None:
        for _ in range(100):
            small.append(Row("u", 1.0, "f", None, "x" * 1000, True))

    with pytest.raises(OSError, match="is full"):
        append_many()
    small.close()
    size = sum(path.stat().st_size for path in small.folder.iterdir())
    assert 8000 < size <= 10_000


def test_a_courier_of_an_earlier_version_leaves_lines_alone(outbox: Outbox) -> None:
    """It takes files without a suffix: old and new containers share the spool during a roll."""
    outbox.put(repeat("boom"), mailable=True)
    assert all(path.suffix for path in outbox.incoming.folder.iterdir())
