"""The rotating file: nothing lost, nothing torn, and no trouble for whoever logs."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flask_mayday.log.reader import files
from flask_mayday.log.rotation import RotatingFile, lock_path


def handler(path: Path, max_bytes: int = 100, backup_count: int = 3) -> RotatingFile:
    made = RotatingFile(path, max_bytes=max_bytes, backup_count=backup_count)
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


def log(to: RotatingFile, text: str) -> None:
    to.handle(logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "test.log"


def content(path: Path) -> list[str]:
    return [line for file in files(path) for line in file.read_text().splitlines()]


def backups(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()} - {path.name, f".{path.name}.lock"}


def test_nothing_is_opened_before_the_first_record(path: Path) -> None:
    to = handler(path)
    assert not path.parent.exists()
    log(to, "first")
    assert path.read_text() == "first\n"


def test_the_limit_is_exact(path: Path) -> None:
    to = handler(path, max_bytes=100)
    for number in range(10):
        log(to, f"{number:09}")  # ten bytes with its newline
    assert (path.stat().st_size, backups(path)) == (100, set())
    log(to, "")
    assert path.with_name("test.log.1").stat().st_size == 100
    assert path.read_text() == "\n"


def test_a_record_larger_than_the_limit_is_kept_whole_in_a_file_of_its_own(path: Path) -> None:
    to = handler(path, max_bytes=100)
    for text in ("before", "x" * 500, "after"):
        log(to, text)
    assert [file.read_text() for file in files(path)] == ["before\n", "x" * 500 + "\n", "after\n"]


def test_the_slots_are_filled_in_turn_as_in_a_ring(path: Path) -> None:
    to = handler(path, max_bytes=1, backup_count=3)
    for number in range(1, 9):
        log(to, str(number))
    assert backups(path) == {"test.log.1", "test.log.2", "test.log.3"}
    assert content(path) == ["5", "6", "7", "8"]
    assert path.with_name("test.log.1").read_text() == "7\n"


def test_another_process_goes_on_with_the_next_slot(path: Path) -> None:
    for number in range(1, 6):
        log(handler(path, max_bytes=1, backup_count=3), str(number))
    assert content(path) == ["2", "3", "4", "5"]


def test_more_backups_can_be_kept_later_on(path: Path) -> None:
    for number in range(1, 8):
        log(handler(path, max_bytes=1, backup_count=2), str(number))
    for number in range(8, 12):
        log(handler(path, max_bytes=1, backup_count=5), str(number))
    assert content(path)[-4:] == ["8", "9", "10", "11"]
    assert len(backups(path)) == 5


def test_fewer_backups_can_be_kept_later_on(path: Path) -> None:
    for number in range(1, 8):
        log(handler(path, max_bytes=1, backup_count=5), str(number))
    for number in range(8, 12):
        log(handler(path, max_bytes=1, backup_count=2), str(number))
    # Two are used from now on; what lay in the others is not touched.
    assert {"9", "10", "11"} <= set(content(path))
    assert backups(path) == {f"test.log.{slot}" for slot in range(1, 6)}


def test_a_lost_lock_file_loses_no_line(path: Path) -> None:
    to = handler(path, max_bytes=1, backup_count=5)
    for number in range(1, 4):
        log(to, str(number))
        os.utime(path, ns=(number * 10**9, number * 10**9))  # as if seconds lay between them
    Path(lock_path(str(path))).unlink()
    log(handler(path, max_bytes=1, backup_count=5), "4")
    assert content(path) == ["1", "2", "3", "4"]


def test_a_writer_that_rotates_notices_that_its_lock_file_was_deleted(path: Path) -> None:
    """Otherwise it and those who come later hold locks that do not exclude each other."""
    old = handler(path, max_bytes=1)
    log(old, "first")
    lock = Path(lock_path(str(path)))
    lock.unlink()
    lock.touch()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = threading.Thread(target=log, args=(old, "second"))
        done.start()
        done.join(0.2)
        assert content(path) == ["first"]
    done.join(10)
    assert content(path) == ["first", "second"]
    lock.unlink()
    log(old, "third")
    assert lock.exists()


def test_a_writer_killed_between_the_note_and_the_rename_costs_no_slot(path: Path) -> None:
    to = handler(path, max_bytes=1, backup_count=3)
    for number in range(1, 4):
        log(to, str(number))
    note = f"{3:>20}{path.stat().st_ino:>21}\n".encode()
    Path(lock_path(str(path))).write_bytes(note)  # and then it was killed
    log(handler(path, max_bytes=1, backup_count=3), "4")
    assert content(path) == ["1", "2", "3", "4"]


def test_a_writer_that_is_ended_in_the_middle_leaves_no_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gunicorn ends a worker that has timed out: SystemExit, wherever it is."""
    ended = handler(path)
    monkeypatch.setattr(ended, "_append", lambda data: exec("raise SystemExit"))
    with pytest.raises(SystemExit):
        log(ended, "first")
    with Path(lock_path(str(path))).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_half_a_line_of_a_killed_writer_is_taken_back(path: Path) -> None:
    log(handler(path), "first")
    with path.open("a") as file:
        file.write("half a li")
    log(handler(path), "second")
    assert path.read_text() == "first\nsecond\n"


def test_a_lock_file_with_something_else_in_it_harms_nothing(path: Path) -> None:
    to = handler(path, max_bytes=1)
    log(to, "first")
    Path(lock_path(str(path))).write_text("not numbers")
    log(to, "second")
    assert content(path) == ["first", "second"]


def test_a_deleted_log_is_begun_anew(path: Path) -> None:
    to = handler(path)
    log(to, "first")
    path.unlink()
    log(to, "second")
    assert path.read_text() == "second\n"


def test_a_deleted_folder_is_complained_of_or_made_anew(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path)
    log(to, "first")
    shutil.rmtree(path.parent)
    log(to, "second")
    assert "second" in (path.read_text() if path.exists() else capsys.readouterr().err)
    log(to, "third")
    assert "third" in path.read_text()


def test_the_group_may_read_the_log_and_nobody_else(path: Path) -> None:
    previous = os.umask(0o022)
    try:
        log(handler(path), "first")
    finally:
        os.umask(previous)
    for file in (path, Path(lock_path(str(path)))):
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_leaves_no_torn_line_and_the_log_goes_on_later(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path, max_bytes=10_000)
    log(to, "before")
    with largest_file(12):
        log(to, "does not fit")
        log(to, "x")
    log(to, "after")
    assert path.read_text().splitlines() == ["before", "x", "after"]
    complaint, line = capsys.readouterr().err.splitlines()
    assert os.strerror(errno.ENOSPC) in complaint
    assert line == "does not fit"


def test_a_folder_that_cannot_be_made_costs_a_line_on_stderr_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    to = handler(tmp_path / "file" / "test.log")
    log(to, "first")
    log(to, "second")
    complaint, first, second = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file" / "test.log") in complaint
    assert (first, second) == ("first", "second")


def test_a_rotation_that_is_not_possible_keeps_the_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path, max_bytes=1)
    log(to, "first")
    path.with_name("test.log.1").mkdir()
    log(to, "second")
    assert "second" in path.read_text() + capsys.readouterr().err
    path.with_name("test.log.1").rmdir()
    log(to, "third")
    assert "third" in path.read_text()


def test_a_record_that_cannot_be_formatted_does_not_raise(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path)
    log(to, "%d")
    to.handle(logging.LogRecord("test", logging.INFO, __file__, 1, "%d", ("x",), None))
    log(to, "after")
    assert content(path) == ["%d", "after"]
    assert "Logging error" in capsys.readouterr().err


def test_a_child_does_not_keep_the_lock_of_its_parent(
    path: Path, in_child: Callable[[Callable[[], object]], int]
) -> None:
    to = handler(path)
    log(to, "parent")
    lock = str(Path(lock_path(str(path))))

    def look() -> None:
        opened = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")
        ]
        assert lock not in opened
        assert str(path) not in opened

    assert in_child(look) == 0


def test_parent_and_child_write_into_one_file(
    path: Path, in_child: Callable[[Callable[[], object]], int]
) -> None:
    to = handler(path, max_bytes=30, backup_count=100)
    log(to, "parent before")

    def write() -> None:
        for number in range(20):
            log(to, f"child {number}")

    assert in_child(write) == 0
    log(to, "parent after")
    expected = ["parent before", *(f"child {number}" for number in range(20)), "parent after"]
    assert content(path) == expected


def test_threads_write_whole_lines_in_their_own_order(path: Path) -> None:
    to = handler(path, max_bytes=500, backup_count=1000)

    def write(name: int) -> None:
        for number in range(200):
            log(to, f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(4):
        mine = [line.split()[1] for line in content(path) if line.startswith(f"{name} ")]
        assert mine == [str(number) for number in range(200)]
