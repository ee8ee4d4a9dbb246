"""A log file that rotates by size and that any number of processes and containers may write."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..context.record_fields import bare_record
from ..forks import reset_in_child
from . import backups
from .regular_file import open_regular

RECORD_BYTES: Final = 1 << 20  # a longer record is cut
BLOCK: Final = 1 << 16  # bytes read at once to find where a partial line begins
LOCK_TRIES: Final = 5  # before the first pause
LOCK_TIMEOUT: Final = 1.0  # seconds to wait for the lock while nobody writes
LOCK_TIMEOUT_AGAIN: Final = 0.002  # seconds, while nobody has written since a wait that failed
WARNING_INTERVAL: Final = 60.0  # seconds between two warnings on stderr


def _ignore() -> None:
    """Do nothing, as the default of a function that is called when something happens."""


class RotatingFile(logging.Handler):
    """Writes each record with one ``write`` to a file that all processes share.

    A record that would make ``path`` larger than ``max_bytes`` goes into a new file: the full one
    becomes ``.1``, the backup ``.1`` becomes ``.2``, and so on; of more than ``backup_count``
    backups the oldest is deleted. A process that is killed during a rotation leaves at most one
    number free, and the next rotation fills it.

    All writers hold ``flock`` on a lock file beside the log, which the kernel releases when a
    process is killed. Files are opened at the first record, and again in a forked process:
    processes that share an open file do not exclude each other.

    A process's first record rotates a file that was begun in the other format, text or JSON.

    While the file cannot be written, its lines go to stderr and ``trouble`` holds the reason.
    Otherwise ``trouble`` is ``None``. ``on_rotation`` is called after each rotation by this
    process, and ``on_failure`` for each record that was not written.
    """

    def __init__(self, path: Path, *, max_bytes: int, backup_count: int) -> None:
        super().__init__()
        self.path = os.path.abspath(path)
        self.max_bytes = max_bytes
        self.backup_count = backup_count
        self.trouble: str | None = None
        self.on_rotation: Callable[[], None] = _ignore
        self.on_failure: Callable[[], None] = _ignore
        self._file = -1
        self._lock_file = -1
        self._identity = (0, 0)  # inode and device of the file
        self._end = -1  # where our last line ended
        self._surplus: list[int] = []  # backups deleted because backup_count was lowered
        self._format_checked = False
        self._stuck: tuple[int, int] | None = None  # the file's state at the last lock timeout
        self._warned = -WARNING_INTERVAL
        # At once, not at the child's first record: while a child holds the parent's lock file open,
        # a parent that is killed during a write leaves the lock taken.
        reset_in_child(self, RotatingFile._close_files)

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``, or print it on stderr, with the reason, if that is not possible."""
        try:
            data = self._encode(record)
        except Exception:
            self.handleError(record)
            return
        try:
            self.write(data)
        except OSError as error:
            self._print(data, error)
        else:
            self.trouble = None
        if self._surplus:
            self._log_surplus()

    def write(self, data: bytes) -> None:
        """Append ``data``, the bytes of whole lines, after a rotation if the file is full.

        Raises :exc:`OSError` if the file cannot be written.
        """
        try:
            if self._lock_file < 0:
                self._open_lock()
            self._take_lock()
            size = self._current_size()
            if size and size != self._end and os.pread(self._file, 1, size - 1) != b"\n":
                size = self._remove_partial_line(size)
            if self._is_in_other_format(data):
                size = self._rotate_if_full(self.max_bytes)
            elif size and size + len(data) > self.max_bytes:
                size = self._rotate_if_full(len(data))
            self._append(data)
            self._end = size + len(data)
        except BaseException:
            # Closing releases the lock, also after the SystemExit of a signal handler. The next
            # record opens everything again.
            self._close_files()
            raise
        fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files of this process; a later record opens them again."""
        self._close_files()
        super().close()

    def _encode(self, record: logging.LogRecord) -> bytes:
        try:
            line = self.format(record)
        except Exception as error:
            line = self.format(bare_record(record, error))
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        if len(data) <= RECORD_BYTES:
            return data
        note = f" … cut, the record has {len(data)} bytes\n".encode()
        kept = data[: RECORD_BYTES - len(note)].decode("utf-8", "ignore")  # no half character
        return kept.encode() + note

    def _close_files(self) -> None:
        for descriptor in (self._file, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock_file = -1

    def _open_lock(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._lock_file = open_regular(lock_path(self.path), os.O_RDWR | os.O_CREAT)

    def _take_lock(self) -> None:
        # With a few tries before the first pause, the slowest calls of eight busy processes are
        # shorter by a fifth to a half.
        for _ in range(LOCK_TRIES):
            if self._try_lock():
                return
            os.sched_yield()
        self._wait_for_lock()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(self) -> None:
        """Take the lock, or raise :exc:`TimeoutError` if nobody has written for a second.

        As long as others write, this process has only lost a race on a busy machine. A lock that
        is never released, such as that of a frozen container, delays only one record.
        """
        before, pause = self._file_state(), 0.00005
        stuck = before == self._stuck
        deadline = time.monotonic() + (LOCK_TIMEOUT_AGAIN if stuck else LOCK_TIMEOUT)
        while not self._try_lock():
            now = time.monotonic()
            if now >= deadline:
                after = self._file_state()
                if after == before:
                    self._stuck = after
                    raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock", self.path)
                before, deadline = after, now + LOCK_TIMEOUT
            time.sleep(pause)
            pause = min(2 * pause, 0.001)
        self._stuck = None

    def _file_state(self) -> tuple[int, int]:
        try:
            status = os.stat(self.path)
        except OSError:
            return 0, 0
        return status.st_ino, status.st_size

    def _current_size(self) -> int:
        """Return the size of the file in bytes; open it again if it was renamed or deleted."""
        if self._file >= 0:
            try:
                status = os.stat(self.path)
            except FileNotFoundError:
                pass
            else:
                if (status.st_ino, status.st_dev) == self._identity:
                    return status.st_size
            os.close(self._file)
            self._file = self._end = -1
        if os.fstat(self._lock_file).st_size:
            backups.renumber_ring(self.path)
            os.ftruncate(self._lock_file, 0)
        self._file = open_regular(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        status = os.fstat(self._file)
        self._identity = status.st_ino, status.st_dev
        return status.st_size

    def _remove_partial_line(self, size: int) -> int:
        """Cut off the line of a writer that was killed during a write; return the new size.

        The kernel can end a process between two pages that it copies.
        """
        end = size
        while end:
            start = max(0, end - BLOCK)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            end = start + newline + 1
            if newline >= 0:
                break
        os.ftruncate(self._file, end)
        return end

    def _rotate_if_full(self, length: int) -> int:
        """Rotate unless another process has done so; return the size of the file then.

        Somebody may have deleted the lock file: then another process may hold the lock of a new
        one, and both would rotate. Appending is safe even then, as each record is one ``write``.
        """
        while not os.fstat(self._lock_file).st_nlink:
            os.close(self._lock_file)
            self._lock_file = -1
            self._open_lock()
            self._take_lock()
        size = self._current_size()
        if size and size + length > self.max_bytes:
            self._surplus += backups.rotate(self.path, self.backup_count)
            self.on_rotation()
            size = self._current_size()
        return size

    def _is_in_other_format(self, data: bytes) -> bool:
        """Return, once in a process, whether the file was begun in another format than ``data``.

        Only once: during an update, old and new containers write both formats into one file.
        """
        if self._format_checked:
            return False
        self._format_checked = True
        begun = os.pread(self._file, 1, 0)
        return bool(begun) and (begun == b"{") != data.startswith(b"{")

    def _append(self, data: bytes) -> None:
        written = os.write(self._file, data)
        if written < len(data):
            # A full disk took a part of the line. The size is read again because a copytruncate
            # may have emptied the file: cut to its old size, it would begin with a hole.
            size = os.fstat(self._file).st_size
            os.ftruncate(self._file, max(0, size - written))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def _log_surplus(self) -> None:
        numbers, self._surplus = self._surplus, []
        shown = ", ".join(f".{number}" for number in numbers[:20])
        more = ", …" if len(numbers) > 20 else ""
        message = "LOG_BACKUP_COUNT is %d: deleted %d older backups (%s%s)"
        arguments = (self.backup_count, len(numbers), shown, more)
        # Straight into this file: no logger knows which app's log it is.
        self.emit(
            logging.LogRecord(
                __name__, logging.INFO, __file__, 0, message, arguments, None, "_log_surplus"
            )
        )

    def _print(self, data: bytes, error: OSError) -> None:
        """Print a line on stderr instead, and once a minute the reason."""
        self.trouble = error.strerror
        self.on_failure()
        now = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            if now - self._warned >= WARNING_INTERVAL:
                self._warned = now
                sys.stderr.write(
                    f"The log {self.path} cannot be written ({error.strerror}): "
                    "its lines go to stderr until it can.\n"
                )
            sys.stderr.write(data.decode())


def lock_path(path: str) -> str:
    """Return the path of the lock file of the log ``path``."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.lock")
