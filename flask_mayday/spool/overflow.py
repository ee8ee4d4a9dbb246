"""incoming/: reports in files, until the courier takes them into the database.

A file for each report that the database cannot take; and a file for each process, to which it
appends the repeats of a flood, a line each: that costs a fifth of a row in the database.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EMFILE, ENFILE, ENOMEM, ENOSPC
from pathlib import Path
from typing import Final

from ..report.report import Report
from .database import Row, identity, row_of

WAIT: Final = 0.05  # seconds for another thread that appends
RECOUNTS: Final = 16  # parts of what it may hold in which it is counted anew
LINES: Final = ".lines"
TAKEN: Final = ".taken"  # lines that nobody appends to any more
UNREADABLE: Final = ".unreadable"
PART: Final = ".part"  # is being written
PASSING: Final = (EMFILE, ENFILE, ENOMEM)  # what keeps any file from being read, for now

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A file with the reports that were found in it, and whether that was all of it."""

    path: Path
    rows: list[Row]
    complete: bool


class Incoming:
    """The folder. ``max_bytes`` is what it may hold, for nobody may be there to take it in."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.lock = threading.Lock()
        self._file = -1
        self._path = ""
        self._identity = (0, 0)
        self._counted = 0  # bytes
        self._uncounted = max_bytes

    def write(self, row: Row) -> None:
        """Keep a report in a file that appears whole or not at all. Raises :exc:`OSError`."""
        content = _line(row)
        self._make_sure_of_room(len(content))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / row.uuid
        part = path.with_suffix(PART)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)  # a full disk has room for an empty file
            raise

    def append(self, row: Row) -> None:
        """Keep a report as a line of this process's file. Raises :exc:`OSError`.

        The look comes after the write: who finds that the courier has taken the file cannot know
        whether the line was read, and writes it again. It is kept once.
        """
        line = _line(row)
        if not self.lock.acquire(timeout=WAIT):
            raise TimeoutError("another thread appends")
        try:
            self._make_sure_of_room(len(line))
            for _ in range(3):
                if self._file < 0:
                    self._open()
                self._append(line)
                if self._identity == identity(self._path):
                    return
                self.close()
            raise FileNotFoundError(f"{self._path} goes away as soon as it is made")
        finally:
            self.lock.release()

    def close(self) -> None:
        """Leave this process's file to the courier, and begin another with the next line."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def take(self) -> Iterator[Taken]:
        """Yield each file with its reports, for the courier, which calls :meth:`taken_in`."""
        for name in sorted(os.listdir(self.folder)) if self.folder.is_dir() else ():
            path = self.folder / name
            if path.suffix == LINES:
                path = path.rename(path.with_suffix(TAKEN))
            if path.suffix in ("", TAKEN):
                yield _read(path)

    def leftovers(self) -> list[Path]:
        """Return what nobody takes in: what cannot be read, and what killed writers began."""
        return [*self.folder.glob(f"*{UNREADABLE}"), *self.folder.glob(f"*{PART}")]

    def taken_in(self, taken: Taken) -> None:
        """Delete a file whose reports are in the database; keep what could not be read of it."""
        if taken.complete:
            taken.path.unlink()
            return
        aside = taken.path.with_suffix(UNREADABLE)
        taken.path.rename(aside)
        with suppress(OSError):  # it is another user's
            os.utime(aside)  # it is kept from now on
        logger.error("A report in the spool cannot be read, see %s", aside)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{LINES}"
        self._path = str(self.folder / name)
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640
        )
        status = os.fstat(self._file)
        self._identity = (status.st_dev, status.st_ino)

    def _append(self, line: bytes) -> None:
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(ENOSPC, os.strerror(ENOSPC), self._path)

    def _make_sure_of_room(self, size: int) -> None:
        self._uncounted += size
        if self._uncounted > self.max_bytes // RECOUNTS:
            self._counted, self._uncounted = _size(self.folder), size
        if self._counted + self._uncounted > self.max_bytes:
            raise OSError(f"{self.folder} is full (a part of SPOOL_MAX_BYTES: {self.max_bytes})")


def _line(row: Row) -> bytes:
    return json.dumps({"mailable": row.mailable, "body": row.body}).encode() + b"\n"


def _read(path: Path) -> Taken:
    """Read a file's reports.

    What follows the last newline of lines is none: its writer is at it still, and will write it
    again, or was killed before it answered the request. So a file of lines may also be empty.
    """
    rows = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        if error.errno in PASSING:
            raise
        return Taken(path, [], complete=False)
    tail = lines.pop()
    for line in lines:
        try:
            wrapped = json.loads(line)
            report = Report.from_json(wrapped["body"])
            rows.append(row_of(report, mailable=bool(wrapped["mailable"])))
        except (ValueError, KeyError, TypeError):
            continue
    whole = path.suffix == TAKEN or (bool(rows) and not tail)
    return Taken(path, rows, complete=whole and len(rows) == len(lines))


def _size(folder: Path) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except FileNotFoundError:
        return 0
