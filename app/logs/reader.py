"""Read the log on the volume: follow it across rotations, or print what one request wrote.

Run as ``python -m app.logs.reader [--request ID]``.
"""

from __future__ import annotations

import argparse
import codecs
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .rotation import lock_path, newest_slot, slots

POLL: Final = 0.1  # seconds between two looks for new lines
BEFORE: Final = 20  # lines shown before following


def main() -> int:
    """Read the log as the arguments say; return 1 where a request has left no line."""
    parser = argparse.ArgumentParser(prog="python -m app.logs.reader", description=__doc__)
    parser.add_argument("--request", metavar="ID", help="print what this request wrote")
    arguments = parser.parse_args()
    path = Path(os.environ.get("LOG_DIR") or "logs") / "microblog.log"
    try:
        if not arguments.request:
            for text in follow(path):
                sys.stdout.write(text)
                sys.stdout.flush()
        found = False
        for entry in entries_of(path, arguments.request):
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
    # Both formats begin with the time, down to milliseconds; sorting is stable.
    yield from sorted(found, key=lambda entry: entry[:35])


def follow(path: Path) -> Iterator[str]:
    """Yield the log's last lines, then what is written, across rotations, without end."""
    # A read may end within a character whose other half comes with the next.
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    current, lines = _open(path), BEFORE
    while current is None:  # nothing has been logged yet: then every line is a new one
        time.sleep(POLL)
        current, lines = _open(path), sys.maxsize
    yield decode(b"".join(deque(current, lines)))
    while True:
        if data := current.read():
            yield decode(data)
            continue
        newer = _successor(path, os.fstat(current.fileno()))
        if newer is None:
            time.sleep(POLL)
            continue
        # What was written between our last read and the rename.
        yield decode(current.read())
        current.close()
        current = newer


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _successor(path: Path, status: os.stat_result) -> BinaryIO | None:
    """Open the file that was begun after the one with ``status``, if there is one.

    A writer may rotate between the look and the opening, and then the name means a later file:
    so what was opened must still be the next one at a second look.
    """
    name = _next_file(path, status.st_ino)
    opened = _open(name) if name is not None else None
    if opened is None:
        return None
    name = _next_file(path, status.st_ino)
    if name is not None and _inode(name) == os.fstat(opened.fileno()).st_ino:
        return opened
    opened.close()
    return None  # the next look will find it


def _next_file(path: Path, inode: int) -> Path | None:
    there = files(path)
    inodes = [_inode(file) for file in there]
    if inode not in inodes:
        # Overwritten while we read it: the oldest that is left is the nearest.
        return there[0] if there else None
    position = inodes.index(inode) + 1
    return there[position] if position < len(there) else None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
