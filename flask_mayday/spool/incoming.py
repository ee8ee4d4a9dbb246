"""``incoming/``: the files through which processes pass their reports to the courier.

Each process appends to a file of its own, ``<time>-<host>-<pid>-<random>.lines``, one report per
line, and takes no lock that another process could hold. The courier renames the file to ``.taken``,
reads it, and deletes it once the reports are in the database. Earlier versions share the folder
during an update, so their formats are kept. They also write files of one report, without a suffix.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .database import NO_FILE, identity
from .ownership import make_folder, open_file
from .stored_report import StoredReport

LINES: Final = ".lines"
TAKEN: Final = ".taken"  # nobody appends to it any more
WAITING: Final = ("", LINES, TAKEN)  # the suffixes of files that the courier takes
UNREADABLE: Final = ".unreadable"  # has a line that is not a report
PART: Final = ".part"  # an earlier version is writing it
TRIES: Final = 20  # to write to a file before the courier takes it; each takes microseconds
RECOUNT_SHARE: Final = 16  # the folder is measured again after each 1/16 of its quota

logger = logging.getLogger(__name__)


class ReportFile:
    """The file of this process. ``max_bytes`` bounds all files of ``folder`` together.

    Only one thread may use it at a time.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._descriptor = -1
        self._path = ""
        self._identity = NO_FILE
        self._measured = 0  # bytes in the folder
        # Bytes that this process has added since. The initial value causes the first measurement.
        self._added = max_bytes

    def append(self, line: bytes) -> None:
        """Append a line. Raises :exc:`OSError` if it cannot be written.

        After the write, the file is checked to be still in place. If the courier has taken it, the
        courier may or may not have read the line. So the line is written again, and the database
        keeps the report once.
        """
        self._check_quota(len(line))
        for _ in range(TRIES):
            if self._descriptor < 0:
                self._open()
            self._write(line)
            if identity(self._path) == self._identity:
                return
            self.close()
        raise FileNotFoundError(f"{self._path} is deleted each time that it is created")

    def close(self) -> None:
        """Close the file; the next report goes to another one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        make_folder(self.folder)
        # The name begins with the time, so that the courier reads the first of identical errors
        # first.
        made = f"{time.time_ns():020d}"
        name = f"{made}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{LINES}"
        self._path = str(self.folder / name)
        self._descriptor = open_file(self.folder / name, os.O_APPEND | os.O_EXCL)
        status = os.fstat(self._descriptor)
        self._identity = (status.st_dev, status.st_ino)

    def _write(self, line: bytes) -> None:
        written = os.write(self._descriptor, line)
        if written < len(line):  # the disk is full
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)

    def _check_quota(self, size: int) -> None:
        self._added += size
        is_old = self._added > self.max_bytes // RECOUNT_SHARE
        if is_old or self._measured + self._added > self.max_bytes:
            self._measured, self._added = _size(self.folder), size
        if self._measured + self._added > self.max_bytes:
            raise OSError(f"{self.folder} is full (its share of SPOOL_MAX_BYTES: {self.max_bytes})")


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file and the reports in it; ``complete`` means that it holds nothing else."""

    path: Path
    reports: list[StoredReport]
    complete: bool


class Incoming:
    """Reads and empties ``folder``, for the courier and the operator's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def waiting(self) -> list[Path]:
        """Return the files that hold reports for the courier, in the order of their creation."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        return [self.folder / name for name in names if os.path.splitext(name)[1] in WAITING]

    def take(self) -> Iterator[IncomingFile]:
        """Yield each file with its reports; call :meth:`finish` once they are in the database.

        A file that this user may not read is skipped: see :meth:`unreadable`. Raises :exc:`OSError`
        if no file can be read, for example without free file descriptors.
        """
        for path in self.waiting():
            with suppress(PermissionError, FileNotFoundError):
                is_open = path.suffix == LINES
                yield read_file(path.rename(path.with_suffix(TAKEN)) if is_open else path)

    def finish(self, taken: IncomingFile) -> None:
        """Delete a file whose reports are in the database; keep one that holds something else."""
        if taken.complete:
            taken.path.unlink()
            return
        kept = taken.path.rename(taken.path.with_suffix(UNREADABLE))
        with suppress(OSError):  # it belongs to another user
            os.utime(kept)  # how long it is kept counts from now
        logger.error("A line in the spool is not a report and cannot be mailed: see %s", kept)

    def read(self) -> list[StoredReport]:
        """Return the reports that wait, without taking them from the courier."""
        found: list[StoredReport] = []
        for path in self.waiting():
            # The courier may have renamed it since it was listed.
            for one in (path, path.with_suffix(TAKEN)):
                with suppress(OSError):
                    found += read_file(one).reports
                    break
        return found

    def unreadable(self) -> list[Path]:
        """Return the files that this user may not read: the courier leaves them where they are."""
        refused = [path for path in self.waiting() if not os.access(path, os.R_OK)]
        # A courier may have deleted a file since it was listed.
        return [path for path in refused if identity(path) != NO_FILE]

    def expire(self, before: float) -> None:
        """Delete the files that the courier never takes, if older than ``before``.

        They hold lines that are not reports (``.unreadable``), or an earlier version was killed
        while it wrote them (``.part``). ``before`` is in seconds since the epoch.
        """
        for path in (*self.folder.glob(f"*{UNREADABLE}"), *self.folder.glob(f"*{PART}")):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()


def read_file(path: Path) -> IncomingFile:
    """Return the reports in a file of ``incoming/``. Raises :exc:`OSError`.

    In a file of lines, a partial last line is ignored: its writer will find that the file was taken
    and write the line again, or it was killed before it could answer the request.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except IsADirectoryError:
        return IncomingFile(path, [], complete=False)
    tail = lines.pop()
    reports = []
    for line in lines:
        with suppress(ValueError):
            reports.append(StoredReport.from_line(line))
    whole = path.suffix in (LINES, TAKEN) or (bool(reports) and not tail)
    return IncomingFile(path, reports, complete=whole and len(reports) == len(lines))


def _size(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # the courier has just taken it
                total += entry.stat().st_size
    return total
