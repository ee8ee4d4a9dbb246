"""Read the log on the volume: follow it across rotations, or print what one request wrote, or all.

Run as ``python -m app.logs.reader [--request ID | --all]``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .rotation import lock_path, newest_slot, slots

# Seconds between two looks for new lines. Small files are overwritten soon: at 400 rotations a
# second, the eleventh comes after 25 ms.
POLL: Final = 0.005
BEFORE: Final = 20  # lines shown before following

COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
LEVEL: Final = re.compile(
    rf'^([0-9-]{{10}} [0-9:,]{{12}} |{{"time": "[^"]*", "level": ")({"|".join(COLOURS)})\b',
    re.MULTILINE,
)


def main() -> int:
    """Read the log as the arguments say; return 1 where there is nothing to print."""
    parser = argparse.ArgumentParser(prog="python -m app.logs.reader", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--request", metavar="ID", help="print what this request wrote")
    what.add_argument("--all", action="store_true", help="print every file, the oldest first")
    parser.add_argument(
        "--colour", action="store_true", default=sys.stdout.isatty(), help="as on a terminal"
    )
    arguments = parser.parse_args()
    path = Path(os.environ.get("LOG_DIR") or "logs") / "microblog.log"
    try:
        if not arguments.request and not arguments.all:
            for text in follow(path):
                sys.stdout.write(coloured(text) if arguments.colour else text)
                sys.stdout.flush()
        found = False
        for entry in everything(path) if arguments.all else entries_of(path, arguments.request):
            sys.stdout.write(entry)
            found = True
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0 if found else 1


def files(path: Path) -> list[Path]:
    """Return the log's files, the oldest first: the slots are filled in turn, as in a ring."""
    text = os.fspath(path)
    try:
        lock_file = os.open(lock_path(text), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return [path] if path.exists() else []
    try:
        newest = newest_slot(text, lock_file)
    finally:
        os.close(lock_file)
    there = slots(text)
    ring = [slot for slot in there if slot > newest] + [slot for slot in there if slot <= newest]
    backups = [path.with_name(f"{path.name}.{slot}") for slot in ring]
    return [*backups, path] if path.exists() else backups


def entries(path: Path) -> Iterator[str]:
    """Yield each record of a file: its line with the traceback's lines that follow it."""
    entry = ""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            if entry and not line.startswith("  "):
                yield entry
                entry = ""
            entry += line
    if entry:
        yield entry


def entries_of(path: Path, request_id: str) -> Iterator[str]:
    """Yield the records that a request wrote, in the order of their times."""
    marks = (f"[request {request_id}]\n", f'"request_id": "{request_id}"')
    found = [
        entry
        for file in files(path)
        for entry in entries(file)
        if any(mark in entry.partition("\n")[0] + "\n" for mark in marks)
    ]
    yield from sorted(found, key=_moment)  # which leaves those of one millisecond in their order


def _moment(entry: str) -> str:
    """Return the digits of an entry's time, with which it begins in either format."""
    return re.sub(r"\D", "", entry[:40])[:17]  # from the year to the millisecond


class _Tail:
    """A file of the log, from which whole lines are taken as they come."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self.inode = os.fstat(self.file.fileno()).st_ino
        self.position = 0

    def lines(self) -> str:
        """Return the whole lines that have come since the last call.

        Half a line waits for its other half: whoever writes may take it back. What has been cut
        from outside, as by logrotate's copytruncate, is begun anew.
        """
        size = os.fstat(self.file.fileno()).st_size
        if size < self.position:
            self.position = 0
        if size == self.position:
            return ""
        data = os.pread(self.file.fileno(), size - self.position, self.position)
        data = data[: data.rfind(b"\n") + 1]
        self.position += len(data)
        return data.decode("utf-8", "replace")


def everything(path: Path) -> Iterator[str]:
    """Yield each record of each file, the oldest first."""
    for file in files(path):
        yield from entries(file)


def follow(path: Path) -> Iterator[str]:
    """Yield the log's last lines, then what is written, across rotations, without end."""
    current, lines = _open(path), BEFORE
    while current is None:  # nothing has been logged yet: then every line is a new one
        time.sleep(POLL)
        current, lines = _open(path), sys.maxsize
    yield "".join(deque(current.lines().splitlines(keepends=True), lines))
    while True:
        if text := current.lines():
            yield text
            continue
        newer = _successor(path, current)
        if newer is None:
            time.sleep(POLL)
            continue
        # What was written between our last read and the rename.
        yield current.lines()
        current.file.close()
        current = newer


def coloured(text: str) -> str:
    """Return lines of the log with their levels in colour, for a terminal."""
    return LEVEL.sub(lambda found: f"{found[1]}\x1b[{COLOURS[found[2]]}m{found[2]}\x1b[0m", text)


def _open(path: Path) -> _Tail | None:
    try:
        return _Tail(path)
    except FileNotFoundError:
        return None


def _successor(path: Path, current: _Tail) -> _Tail | None:
    """Open the file that was begun after the current one, if there is one.

    A writer may rotate between the look and the opening, and then the name means a later file:
    so what was opened must still be the next one at a second look.
    """
    if _inode(path) == current.inode:
        return None
    name, _ = _next_file(path, current)
    opened = _open(name) if name is not None else None
    if opened is None:
        return None
    name, gone = _next_file(path, current)
    if name is not None and _inode(name) == opened.inode:
        if gone and name != path:
            sys.stderr.write("Lines were overwritten before they could be shown here.\n")
        return opened
    opened.file.close()
    return None  # the next look will find it


def _next_file(path: Path, current: _Tail) -> tuple[Path | None, bool]:
    """Return the file after the current one, and whether that one has gone meanwhile."""
    there = files(path)
    inodes = [_inode(file) for file in there]
    if current.inode not in inodes:
        # Overwritten, moved or deleted: the next is the first that was written to after it.
        last = os.fstat(current.file.fileno()).st_mtime_ns
        return next((file for file in there if _written(file) >= last), None), True
    position = inodes.index(current.inode) + 1
    return (there[position] if position < len(there) else None), False


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
