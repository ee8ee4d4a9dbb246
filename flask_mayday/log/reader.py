"""Reads the log: follows it across rotations, or prints what one request wrote, or all of it.

Run as ``python -m flask_mayday.log.reader [--request ID | --all]``. ``LOG_DIR`` and ``LOG_FILE``
say where the log is; without ``LOG_FILE`` it is the only ``.log`` file of that folder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pwd
import re
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .backups import numbers
from .formats import escape_controls
from .regular_file import open_regular
from .rotation import RECORD_BYTES

POLL: Final = 0.005  # seconds between two checks for new lines
LINES_BEFORE: Final = 20  # shown before the lines that are followed
BYTES_BEFORE: Final = 1 << 16  # in which these lines are looked for
CHUNK: Final = 2 * RECORD_BYTES  # bytes read at once: at least one record

COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
LEVEL: Final = re.compile(
    rf'^([0-9-]{{10}} [0-9:,]{{12}} |{{"time": "[^"]*", "level": ")({"|".join(COLOURS)})\b',
    re.MULTILINE,
)


def main() -> int:
    """Print the log as the arguments say.

    Returns 0, or 1 if there is nothing to print, or 2 if the log cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m flask_mayday.log.reader", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--request", metavar="ID", help="print what this request wrote")
    what.add_argument("--all", action="store_true", help="print every file, the oldest first")
    parser.add_argument(
        "--colour", action="store_true", default=sys.stdout.isatty(), help="colour the levels"
    )
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        path = log_path(os.environ)
    except ValueError as error:
        parser.error(str(error))
    found = False
    try:
        if arguments.request is not None:
            texts = entries_of(path, arguments.request)
        else:
            texts = everything(path) if arguments.all else follow(path)
        for text in texts:
            shown = printable(text)
            sys.stdout.write(coloured(shown) if arguments.colour else shown)
            sys.stdout.flush()
            found = True
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"{_explanation(error, path)}\n")
        return 2
    return 0 if found else 1


def log_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the log that ``LOG_DIR`` and ``LOG_FILE`` of ``environ`` name.

    ``MAYDAY_LOG_DIR`` and ``MAYDAY_LOG_FILE`` take precedence. Raises :exc:`ValueError`, which
    says what to set, if they do not determine the file.
    """

    def setting(name: str) -> str:
        return environ.get(f"MAYDAY_{name}") or environ.get(name) or ""

    folder, name = setting("LOG_DIR"), setting("LOG_FILE")
    if not folder:
        raise ValueError("LOG_DIR is not set. Set it to the folder that the server logs to.")
    if name:
        return Path(folder, name)
    try:
        found = sorted(path for path in Path(folder).iterdir() if path.suffix == ".log")
    except OSError as error:
        raise ValueError(
            f"LOG_FILE is not set, and LOG_DIR, {folder}, cannot be read: {error.strerror}."
        ) from error
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise ValueError(
        f"LOG_FILE is not set. Set it to the name of the log; {folder} has these: {names}."
    )


class LogFile:
    """An open file of the log, read by whole lines.

    An incomplete last line is left for later: its writer will finish it, or was killed. A file
    that was truncated, as by logrotate's copytruncate, is read from its beginning.

    Raises :exc:`OSError` if ``path`` cannot be opened or is not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(os.fspath(path), os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._position = 0

    @property
    def identity(self) -> tuple[int, int]:
        """The inode and the device of the file."""
        status = self.status()
        return status.st_ino, status.st_dev

    def read(self) -> str:
        """Return the next whole lines, at most about two megabytes, or an empty string."""
        size = self.status().st_size
        if size < self._position:
            self._position = 0
        if size == self._position:
            return ""
        data = os.pread(self._file, CHUNK, self._position)
        data = data[: data.rfind(b"\n") + 1] or (data if len(data) == CHUNK else b"")
        self._position += len(data)
        return data.decode("utf-8", "replace")

    def read_all(self) -> Iterator[str]:
        """Yield the lines up to the end of the file."""
        while text := self.read():
            yield text

    def skip_to_last_lines(self) -> str:
        """Move to the end of the file and return the last lines before it."""
        size = self.status().st_size
        start = self._position = max(0, size - BYTES_BEFORE)
        lines = io.StringIO("".join(self.read_all()), newline="\n").readlines()
        return "".join(lines[1 if start else 0 :][-LINES_BEFORE:])

    def status(self) -> os.stat_result:
        """Return the status of the file, which may have been renamed or deleted."""
        return os.fstat(self._file)


def open_files(path: Path, newer_than: LogFile | None = None) -> list[LogFile]:
    """Open the files of the log, the oldest first; with ``newer_than`` from that file on.

    No lock is taken, so a reader never delays a writer and needs no write permission. Files are
    opened from the newest to the oldest. A rotation in the meantime moves files in the same
    direction: one may be opened twice, and then its last position counts, but none is missed.
    """
    found: dict[tuple[int, int], LogFile] = {}
    number = highest = 0
    while number <= highest:
        try:
            file = LogFile(path.with_name(f"{path.name}.{number}") if number else path)
        except FileNotFoundError:
            pass
        else:
            found.pop(file.identity, None)
            found[file.identity] = file
            if newer_than and file.identity == newer_than.identity:
                break
        number += 1
        if number > highest:
            highest = max(numbers(os.fspath(path)), default=0) if path.parent.exists() else 0
    # A file that was deleted in the meantime may have been opened before newer ones.
    there = [file for file in found.values() if file.status().st_nlink]
    return there[::-1]


def everything(path: Path) -> Iterator[str]:
    """Yield the lines of each file, the oldest first."""
    for file in open_files(path):
        yield from file.read_all()


def entries_of(path: Path, request_id: str) -> Iterator[str]:
    """Yield the records that a request wrote, text or JSON, in the order of their times."""
    found = [
        entry
        for file in open_files(path)
        for entry in entries(file)
        if _belongs_to(request_id, entry.partition("\n")[0])
    ]
    yield from sorted(found, key=_moment)  # records of one millisecond keep their order


def entries(file: LogFile) -> Iterator[str]:
    """Yield each record of a file: its line and the indented lines that follow it."""
    entry = ""
    for text in file.read_all():
        for line in io.StringIO(text, newline="\n"):
            if entry and not line.startswith("  "):
                yield entry
                entry = ""
            entry += line
    if entry:
        yield entry


def _belongs_to(request_id: str, line: str) -> bool:
    if request_id not in line or not line.startswith("{"):
        return line.endswith(f"[request {request_id}]")
    try:
        return bool(json.loads(line).get("request_id") == request_id)
    except ValueError:
        return False


def _moment(entry: str) -> str:
    """Return the digits of the time with which a record begins, from year to millisecond."""
    return re.sub(r"\D", "", entry[:40])[:17]


def follow(path: Path) -> Iterator[str]:
    """Yield the last lines of the log, then new ones, across rotations, without end."""
    current = _open(path)
    if current:
        yield current.skip_to_last_lines()
    while current is None:  # nothing has been logged yet, so every line is new
        time.sleep(POLL)
        current = _open(path)
    while True:
        if text := current.read():
            yield text
        elif newer := _newer(path, current):
            yield from current.read_all()  # written between the last read and the rotation
            for file in newer[:-1]:
                yield from file.read_all()
            current = newer[-1]
        else:
            time.sleep(POLL)


def _open(path: Path) -> LogFile | None:
    try:
        return LogFile(path)
    except FileNotFoundError:
        return None


def _newer(path: Path, current: LogFile) -> list[LogFile]:
    """Return the files that were begun after ``current``, the oldest first."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    if (status.st_ino, status.st_dev) == current.identity:
        return []
    files = open_files(path, newer_than=current)
    if files and files[0].identity == current.identity:
        return files[1:]
    # The current file was deleted, or moved by another program.
    last = current.status().st_mtime_ns
    files = [file for file in files if file.status().st_mtime_ns >= last]
    if files and files[0].path != path:
        sys.stderr.write("Lines were deleted before they could be shown here.\n")
    return files


def printable(text: str) -> str:
    """Return lines of the log without characters that could control a terminal."""
    return "\n".join(map(escape_controls, text.split("\n")))


def coloured(text: str) -> str:
    """Return lines of the log with their levels in colour, for a terminal."""
    return LEVEL.sub(lambda found: f"{found[1]}\x1b[{COLOURS[found[2]]}m{found[2]}\x1b[0m", text)


def _explanation(error: OSError, path: Path) -> str:
    text = f"Cannot read the log {error.filename or path}: {error.strerror}."
    if not isinstance(error, PermissionError):
        return text
    try:
        owner = pwd.getpwuid(path.parent.stat().st_uid).pw_name
    except (OSError, KeyError):
        return f"{text} Read it as its owner or as root."
    return f"{text} Its folder belongs to {owner}: read it as that user or as root."


if __name__ == "__main__":
    sys.exit(main())
