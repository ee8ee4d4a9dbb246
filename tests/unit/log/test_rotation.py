"""The rotating file loses and tears no line, and never fails or delays the caller."""

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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flask_mayday.log import rotation
from flask_mayday.log.rotation import (
    BLOCK,
    LOCK_TIMEOUT,
    RECORD_BYTES,
    RotatingFile,
    lock_path,
)
from tests.support.writers import files


def handler(path: Path, max_bytes: int = 100, backup_count: int = 3) -> RotatingFile:
    made = RotatingFile(path, max_bytes=max_bytes, backup_count=backup_count)
    made.setFormatter(logging.Formatter("%(message)s"))
    return made


def log(to: RotatingFile, text: str) -> None:
    to.handle(logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "test.log"


@pytest.mark.parametrize(
    ("before", "after"), [('{"message": "one"}', "2026 two"), ("2026 one", '{"message": "two"}')]
)
def test_a_change_of_the_format_starts_a_new_file(path: Path, before: str, after: str) -> None:
    log(handler(path, max_bytes=10_000), before)
    second = handler(path, max_bytes=10_000)
    log(second, after)
    log(handler(path, max_bytes=10_000), after)
    assert [file.read_text().splitlines() for file in files(path)] == [[before], [after, after]]


def test_during_a_roll_both_formats_share_a_file_without_a_rotation_for_each_line(
    path: Path,
) -> None:
    old, new = (handler(path, max_bytes=10_000) for _ in range(2))
    log(old, "2026 old")
    log(new, '{"message": "new"}')
    for _ in range(10):
        log(old, "2026 old")
        log(new, '{"message": "new"}')
    assert len(files(path)) == 2


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


def test_the_lowest_number_is_the_newest_backup(path: Path) -> None:
    to = handler(path, max_bytes=1, backup_count=3)
    for number in range(1, 9):
        log(to, str(number))
    assert backups(path) == {"test.log.1", "test.log.2", "test.log.3"}
    texts = [path.with_name(f"test.log.{number}").read_text() for number in (1, 2, 3)]
    assert texts == ["7\n", "6\n", "5\n"]
    assert path.read_text() == "8\n"


def test_another_process_continues_the_rotation(path: Path) -> None:
    for number in range(1, 6):
        log(handler(path, max_bytes=1, backup_count=3), str(number))
    assert content(path) == ["2", "3", "4", "5"]


@pytest.mark.parametrize("free", [1, 2, 3])
def test_a_rotation_fills_the_number_that_a_killed_process_left_free(path: Path, free: int) -> None:
    for number in range(1, 6):
        log(handler(path, max_bytes=1, backup_count=4), str(number))
    path.with_name("test.log.4").unlink()
    for number in range(3, free - 1, -1):
        path.with_name(f"test.log.{number}").rename(path.with_name(f"test.log.{number + 1}"))
    log(handler(path, max_bytes=1, backup_count=4), "6")
    assert content(path) == ["2", "3", "4", "5", "6"]
    assert backups(path) == {f"test.log.{number}" for number in range(1, 5)}


def test_a_process_killed_before_it_opened_the_new_file_loses_nothing(path: Path) -> None:
    for number in range(1, 4):
        log(handler(path, max_bytes=1, backup_count=4), str(number))
    for number in (2, 1):
        path.with_name(f"test.log.{number}").rename(path.with_name(f"test.log.{number + 1}"))
    path.rename(path.with_name("test.log.1"))
    for number in (4, 5):
        log(handler(path, max_bytes=1, backup_count=4), str(number))
    assert content(path) == ["1", "2", "3", "4", "5"]


def test_more_backups_can_be_kept_later(path: Path) -> None:
    for number in range(1, 8):
        log(handler(path, max_bytes=1, backup_count=2), str(number))
    for number in range(8, 12):
        log(handler(path, max_bytes=1, backup_count=5), str(number))
    assert content(path) == ["6", "7", "8", "9", "10", "11"]


def test_a_lower_backup_count_deletes_the_surplus_and_logs_it(path: Path) -> None:
    for number in range(1, 8):
        log(handler(path, max_bytes=1, backup_count=5), str(number))
    log(handler(path, max_bytes=200, backup_count=2), "8" * 199)
    assert backups(path) == {"test.log.1", "test.log.2"}
    *lines, deleted = content(path)
    assert lines == ["7", "8" * 199]
    assert deleted == "LOG_BACKUP_COUNT is 2: deleted 3 older backups (.3, .4, .5)"


def test_files_with_other_suffixes_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    names = {"test.log.20260131", "test.log.01", "test.log.1.gz", "test.log-1", "other.log.1"}
    for name in names:
        path.with_name(name).write_text(name)
    for number in range(5):
        log(handler(path, max_bytes=1, backup_count=1), str(number))
    assert backups(path) == names | {"test.log.1"}
    assert {path.with_name(name).read_text() for name in names} == names


def test_backups_that_an_earlier_version_numbered_as_a_ring_are_renumbered(path: Path) -> None:
    """It filled the numbers in turn; the lock file holds the last one and its inode."""
    path.parent.mkdir()
    for number, second in ((1, 4), (2, 5), (3, 2), (4, 3)):
        backup = path.with_name(f"test.log.{number}")
        backup.write_text(f"{second}\n")
        os.utime(backup, (second, second))
    path.write_text("6\n")
    lock = Path(lock_path(str(path)))
    lock.write_text(f"{2:>20}{path.with_name('test.log.2').stat().st_ino:>21}\n")
    log(handler(path, max_bytes=100, backup_count=4), "7")
    assert content(path) == ["2", "3", "4", "5", "6", "7"]
    assert lock.read_bytes() == b""
    log(handler(path, max_bytes=1, backup_count=4), "8")
    assert content(path) == ["3", "4", "5", "6", "7", "8"]


def test_a_deleted_lock_file_loses_no_line(path: Path) -> None:
    to = handler(path, max_bytes=1, backup_count=5)
    for number in range(1, 4):
        log(to, str(number))
    Path(lock_path(str(path))).unlink()
    log(handler(path, max_bytes=1, backup_count=5), "4")
    assert content(path) == ["1", "2", "3", "4"]


def test_a_writer_that_rotates_notices_that_its_lock_file_was_deleted(path: Path) -> None:
    """Otherwise its lock and that of a later writer would not exclude each other."""
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
    done.join(60)
    assert content(path) == ["first", "second"]
    lock.unlink()
    log(old, "third")
    assert lock.exists()


def test_a_worker_that_exits_during_a_write_releases_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn ends a timed-out worker by SystemExit, at any point of its code."""
    ended = handler(path)
    monkeypatch.setattr(ended, "_append", lambda data: exec("raise SystemExit"))
    with pytest.raises(SystemExit):
        log(ended, "first")
    with Path(lock_path(str(path))).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("length", [1, 9, BLOCK - 7, BLOCK - 6, BLOCK, 3 * BLOCK + 1, 3 << 20])
def test_a_partial_line_of_a_killed_writer_is_removed(path: Path, length: int) -> None:
    to = handler(path, max_bytes=10 << 20)
    log(to, "first")
    with path.open("a") as file:
        file.write("x" * length)
    log(handler(path, max_bytes=10 << 20), "second")
    log(to, "third")
    assert path.read_text() == "first\nsecond\nthird\n"


def test_a_file_that_holds_nothing_but_a_partial_line_is_emptied(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("x" * (2 * BLOCK))
    log(handler(path, max_bytes=1 << 20), "first")
    assert path.read_text() == "first\n"


@pytest.mark.parametrize("character", ["x", "ä", "漢", "🙂"])
def test_a_record_is_cut_at_one_mebibyte(path: Path, character: str) -> None:
    to = handler(path, max_bytes=10 << 20)
    for text in (character * (3 << 20), "after"):
        log(to, text)
    cut, after = path.read_text().splitlines()
    assert len(cut.encode()) + 1 <= RECORD_BYTES
    assert len(cut.encode()) > RECORD_BYTES - 8
    assert cut.startswith(character * 1000)
    assert cut.endswith(f" … cut, the record has {3 * len(character.encode()) << 20 | 1} bytes")
    assert after == "after"


def test_a_deleted_log_is_created_again(path: Path) -> None:
    to = handler(path)
    log(to, "first")
    path.unlink()
    log(to, "second")
    assert path.read_text() == "second\n"


def test_a_deleted_folder_is_created_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = handler(path)
    log(to, "first")
    shutil.rmtree(path.parent)
    log(to, "second")
    assert "second" in (path.read_text() if path.exists() else capsys.readouterr().err)
    log(to, "third")
    assert "third" in path.read_text()


def test_only_the_owner_and_the_group_can_read_the_log(path: Path) -> None:
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


def test_a_full_disk_tears_no_line_and_the_log_continues_afterwards(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path, max_bytes=10_000)
    log(to, "before")
    with largest_file(12):
        log(to, "does not fit")
        log(to, "x")
    log(to, "after")
    assert path.read_text().splitlines() == ["before", "x", "after"]
    warning, line = capsys.readouterr().err.splitlines()
    assert os.strerror(errno.ENOSPC) in warning
    assert line == "does not fit"


def test_without_a_folder_the_lines_go_to_stderr_after_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    to = handler(tmp_path / "file" / "test.log")
    log(to, "first")
    log(to, "second")
    warning, first, second = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file" / "test.log") in warning
    assert (first, second) == ("first", "second")
    assert f"({to.trouble})" in warning
    (tmp_path / "file").unlink()
    log(to, "third")
    assert to.trouble is None


@pytest.mark.parametrize("name", ["test.log", ".test.log.lock"])
@pytest.mark.parametrize("kind", [os.mkfifo, lambda path: os.symlink("/dev/full", path)])
def test_a_log_that_is_not_a_regular_file_sends_the_lines_to_stderr_and_never_blocks(
    path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: Callable[[Path], None]
) -> None:
    to = handler(path)
    log(to, "before")
    to.close()
    other = path.with_name(name)
    other.unlink()
    kind(other)
    for number in range(3):
        log(to, f"{number}" * 70_000)  # more than a pipe takes
    warning, *lines = capsys.readouterr().err.splitlines()
    assert "not a regular file" in warning
    assert lines == [f"{number}" * 70_000 for number in range(3)]
    other.unlink()
    log(to, "after")
    assert content(path)[-1] == "after"


def test_a_lock_held_by_another_process_delays_only_one_record(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path)
    log(to, "before")
    with Path(lock_path(str(path))).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begun = time.monotonic()
        for number in range(20):
            log(to, str(number))
        taken = time.monotonic() - begun
    assert LOCK_TIMEOUT <= taken < 10 * LOCK_TIMEOUT
    warning, *lines = capsys.readouterr().err.splitlines()
    assert "another process holds its lock" in warning
    assert lines == [str(number) for number in range(20)]
    log(to, "after")
    assert content(path) == ["before", "after"]


def test_the_lock_is_awaited_as_long_as_others_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a process can lose the race for the lock for longer than the timeout."""
    monkeypatch.setattr(rotation, "LOCK_TIMEOUT", 1.0)
    to = handler(path, max_bytes=10_000)
    log(to, "before")
    with Path(lock_path(str(path))).open() as lock, path.open("a") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=log, args=(to, "after"))
        waiting.start()
        end = time.monotonic() + 2.5 * rotation.LOCK_TIMEOUT
        while time.monotonic() < end:
            file.write("other\n")
            file.flush()
            time.sleep(0.01)  # the interval of the other writer; there is no condition to wait for
    waiting.join(60)
    assert content(path)[-1] == "after"


def test_a_failed_rotation_keeps_the_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = handler(path, max_bytes=1, backup_count=1)
    log(to, "first")
    path.with_name("test.log.1").mkdir()
    log(to, "second")
    assert "second" in capsys.readouterr().err
    path.with_name("test.log.1").rmdir()
    log(to, "third")
    assert content(path) == ["first", "third"]


def test_a_record_that_breaks_any_formatter_is_written_as_a_bare_line(path: Path) -> None:
    to = handler(path)
    to.handle(logging.LogRecord("blog", logging.INFO, "a.py", 1, "%d users", ("many",), None))
    (line,) = content(path)
    assert line == (
        "Log record could not be formatted (TypeError: %d format: a real number is required, "
        "not str): %d users % ('many',) (cannot be formatted: TypeError)"
    )


def test_a_formatter_that_always_fails_does_not_raise(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = handler(path)
    to.setFormatter(logging.Formatter("%(user)s"))
    log(to, "text")
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


def test_parent_and_child_write_to_one_file(
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
