"""A log file that rotates by size under any number of processes, threads and containers."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
import time
import weakref
from errno import ENOSPC
from pathlib import Path
from typing import Final

MODE: Final = 0o640
TRIES: Final = 5  # to get the lock, before waiting for it
LONGEST_HALF: Final = 1 << 20  # bytes: more than a record has
COMPLAINT_INTERVAL: Final = 60.0  # seconds between two lines on stderr about the same trouble


class RotatingFile(logging.Handler):
    """Writes each record with one ``write`` to a file that all writers share.

    Every record is written under ``flock`` on a lock file of its own, after a look whether
    another process has renamed the file meanwhile. A killed process leaves no lock behind:
    the kernel drops it. Nothing is opened before the first record, and a forked process
    opens its own files, for ``flock`` does not part processes that share one.

    Backups are slots, ``.1`` to ``.<backup_count>``, filled in turn and then from ``.1`` again:
    a rotation is one rename however many backups are kept. The lock file remembers the slot.
    """

    def __init__(self, path: Path, *, max_bytes: int, backup_count: int) -> None:
        super().__init__()
        self.path = os.fspath(path)
        self.max_bytes = max_bytes
        self.backup_count = backup_count
        self._file = -1
        self._lock_file = -1
        self._identity = (0, 0)  # inode and device of the file
        self._end = -1  # where our last line ended
        self._complained = -COMPLAINT_INTERVAL
        _open_handlers.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, whole, or say on stderr why that is not possible."""
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        try:
            self.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._complain(line, error)

    def write(self, data: bytes) -> None:
        """Append ``data`` (bytes of whole lines) to the file, rotating first where it is full.

        Raises :exc:`OSError` where the file cannot be written.
        """
        if self._lock_file < 0:
            self._open_lock()
        try:
            self._take_lock()
            size = self._current_size()
            if size and size != self._end and os.pread(self._file, 1, size - 1) != b"\n":
                size = self._take_half_a_line_back(size)
            if size and size + len(data) > self.max_bytes:
                size = self._make_room(size, len(data))
            self._append(data)
            self._end = size + len(data)
        except BaseException:
            # And with them the lock, also where a signal ends the worker here. The next record
            # begins afresh.
            self._close_files()
            raise
        fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close what this process has opened; a later record opens it again."""
        self._close_files()
        super().close()

    def _close_files(self) -> None:
        for descriptor in (self._file, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock_file = -1

    def _take_lock(self) -> None:
        """Take the lock, at first without sleeping.

        It is held for microseconds. A sleeper is woken later than that, and meanwhile another has
        taken it: so the slowest calls of eight busy processes are shorter by a fifth to a half.
        """
        for _ in range(TRIES):
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.sched_yield()
            else:
                return
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)

    def _make_room(self, size: int, length: int) -> int:
        """Rotate, unless another writer has done so; return the size of the file then.

        Only here does it matter whether the lock file has been deleted, and with it the lock:
        appending needs none, for the kernel itself puts one ``write`` after the other.
        """
        while not os.fstat(self._lock_file).st_nlink:
            os.close(self._lock_file)
            self._lock_file = -1
            self._open_lock()
            self._take_lock()
            size = self._current_size()
        if size + length > self.max_bytes:
            self._rotate()
            return 0
        return size

    def _open_lock(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock_file = os.open(lock_path(self.path), flags, MODE)

    def _current_size(self) -> int:
        """Return the file's size in bytes, opened anew where another process has renamed it."""
        if self._file >= 0:
            try:
                there = os.stat(self.path)
            except FileNotFoundError:
                there = None
            if there and (there.st_ino, there.st_dev) == self._identity:
                return there.st_size
            os.close(self._file)
            self._file = self._end = -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self.path, flags, MODE)
        status = os.fstat(self._file)
        self._identity = status.st_ino, status.st_dev
        return status.st_size

    def _take_half_a_line_back(self, size: int) -> int:
        """Cut what a writer left that was killed in the middle of a write; return the new size.

        The kernel looks for a fatal signal between two pages that it copies.
        """
        start = max(0, size - LONGEST_HALF)
        size = start + os.pread(self._file, LONGEST_HALF, start).rfind(b"\n") + 1
        os.ftruncate(self._file, size)
        return size

    def _append(self, data: bytes) -> None:
        written = os.write(self._file, data)
        if written < len(data):
            # A full disk takes a part of a line: take it back, for half a line is a torn one.
            # From the size as it is now: a copytruncate meanwhile would otherwise leave a hole.
            size = os.fstat(self._file).st_size
            os.ftruncate(self._file, max(0, size - written))
            raise OSError(ENOSPC, os.strerror(ENOSPC), self.path)

    def _rotate(self) -> None:
        """Rename the full file to the next slot and open a new one.

        Slot and inode are written down before the rename: whoever comes next sees by the
        inode whether the rename was still done when the writer was killed in between.
        """
        slot = self._next_slot()
        inode = self._identity[0]
        os.pwrite(self._lock_file, f"{slot:>20}{inode:>21}\n".encode(), 0)
        # A rename over a file makes ext4 write the new one out first (auto_da_alloc): without,
        # a rotation takes half the time.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.path}.{slot}")
        os.rename(self.path, f"{self.path}.{slot}")
        os.close(self._file)
        self._file = -1
        self._current_size()

    def _next_slot(self) -> int:
        return newest_slot(self.path, self._lock_file) % self.backup_count + 1

    def _complain(self, line: str, error: OSError) -> None:
        """Put the line on stderr instead, and once a minute why it is not in the file."""
        now = time.monotonic()
        try:
            if now - self._complained >= COMPLAINT_INTERVAL:
                self._complained = now
                sys.stderr.write(
                    f"The log {self.path} cannot be written ({error.strerror}): "
                    "its lines go to stderr until it can.\n"
                )
            sys.stderr.write(line)
        except (OSError, ValueError):
            pass


def lock_path(path: str) -> str:
    """Return the path of the lock file of the log ``path``."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.lock")


def slots(path: str) -> list[int]:
    """Return the numbers of the backups that are there."""
    folder, name = os.path.split(path)
    suffixes = (
        entry.removeprefix(f"{name}.")
        for entry in os.listdir(folder)
        if entry.startswith(f"{name}.")
    )
    return sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())


def newest_slot(path: str, lock_file: int) -> int:
    """Return the slot that was filled last, 0 where none was.

    The lock file names slot and inode of the last rotation, written before its rename: if the
    slot holds another file, the rename was not done, and the slot before it is the newest.
    """
    noted = os.pread(lock_file, 64, 0).split()
    if len(noted) == 2 and noted[0].isdigit() and noted[1].isdigit():
        slot, inode = int(noted[0]), int(noted[1])
        try:
            done = os.stat(f"{path}.{slot}").st_ino == inode
        except FileNotFoundError:
            done = False
        if done:
            return slot
        return slot - 1 if slot > 1 else max(slots(path), default=0)
    # Files that another writer has left: by their times.
    return max(slots(path), key=lambda slot: os.stat(f"{path}.{slot}").st_mtime_ns, default=0)


_open_handlers: weakref.WeakSet[RotatingFile] = weakref.WeakSet()


def _close_inherited_files() -> None:
    # At once, not at the child's first record: as long as a child holds the parent's lock file
    # open, the lock of a parent that is killed while it writes would stay.
    for handler in list(_open_handlers):
        handler._close_files()


os.register_at_fork(after_in_child=_close_inherited_files)
