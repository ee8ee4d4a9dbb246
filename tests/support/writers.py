"""Processes that log numbered lines, and a check that the log holds each line once, in order.

``python tests/support/writers.py LOG --processes 8 --lines 10000`` writes, in containers too (it
needs nothing but the package); with ``--check`` instead of ``--processes`` it checks the log.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flask_mayday.log.backups import numbers
from flask_mayday.log.rotation import RotatingFile

PADDING = "x" * 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, metavar="LOG")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--lines", type=int, default=10_000, help="of each process")
    parser.add_argument("--max-bytes", type=int, default=10_240)
    parser.add_argument("--backups", type=int, default=1_000_000)
    parser.add_argument("--name", default=socket.gethostname(), help="prefix of the writers' names")
    parser.add_argument("--check", action="store_true", help="check the log instead of writing")
    arguments = parser.parse_args()
    if arguments.check:
        found = lines_by_writer(arguments.path)
        wrong = {name: fault for name in found if (fault := fault_in(found[name], arguments.lines))}
        print(f"{len(found)} writers, {sum(map(len, found.values()))} lines, faults: {wrong}")
        return 1 if wrong or not found else 0
    path, limits = arguments.path, (arguments.max_bytes, arguments.backups)
    children = [
        fork(partial(write, path, f"{arguments.name}-{n}", arguments.lines, *limits))
        for n in range(arguments.processes)
    ]
    return max([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children])


def fork(work: Callable[[], object]) -> int:
    """Call ``work`` in a child process; return its pid."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def write(
    path: Path,
    name: str,
    lines: int,
    max_bytes: int,
    backup_count: int,
    done: Callable[[int], object] = lambda number: None,
) -> None:
    """Log numbered lines as an app does; call ``done`` with the number of each after it."""
    handler = RotatingFile(path, max_bytes=max_bytes, backup_count=backup_count)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logger = logging.Logger(name)
    logger.addHandler(handler)
    for number in range(1, lines + 1):
        logger.info("%d %s end", number, PADDING)
        done(number)
    handler.close()


def files(path: Path) -> list[Path]:
    """Return the files of the log, the oldest first."""
    there = numbers(str(path)) if path.parent.exists() else []
    backups = [path.with_name(f"{path.name}.{number}") for number in reversed(there)]
    return [*backups, path] if path.exists() else backups


def lines_by_writer(path: Path) -> dict[str, list[int]]:
    """Return each writer's numbers in the order of the log; raise if a line is torn."""
    found = defaultdict(list)
    for file in files(path):
        text = file.read_text()
        if not text.endswith("\n"):
            raise AssertionError(f"{file} ends within a line: {text[-90:]!r}")
        for line in text.splitlines():
            parts = line.split(" ")
            if len(parts) != 4 or parts[2:] != [PADDING, "end"]:
                raise AssertionError(f"{file} has a torn line: {line!r}")
            found[parts[0]].append(int(parts[1]))
    return dict(found)


def fault_in(found: list[int], last: int, first: int = 1) -> str:
    """Describe what is lost, doubled or out of order in numbers from ``first`` to ``last``."""
    expected = range(first, last + 1)
    if found == list(expected):
        return ""
    lost = sorted(set(expected) - set(found))
    doubled = len(found) - len(set(found))
    return f"{len(lost)} lost {lost[:5]}, {doubled} doubled, in order: {found == sorted(found)}"


if __name__ == "__main__":
    sys.exit(main())
