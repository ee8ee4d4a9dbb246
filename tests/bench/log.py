"""Lines per second of one log that several processes write, for our handler and others in turn.

All write the same lines through the same formatter, as fast as they can. FileHandler and the bare
write do not rotate: they show the limit of the machine. CPU time per line is robust where the
throughput of a busy machine is noise.
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import os
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from concurrent_log_handler import ConcurrentRotatingFileHandler

from flask_mayday.log.rotation import RotatingFile
from tests.support.writers import PADDING, fork

SECONDS = 0.35  # of each run
CASES = [(processes, size) for size in (10 << 10, 1 << 20) for processes in (1, 4, 8)]
BACKUPS = 10

Row = dict[str, Any]
Make = Callable[[Path, int], logging.Handler]


class Run(NamedTuple):
    """Lines per second, the 99th percentile of a call, and CPU time per line."""

    rate: float
    p99_ms: float
    cpu_us: float


class BareWrite(logging.Handler):
    """A ``write`` under ``flock`` and nothing else: the limit of the machine."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, line: bytes) -> None:
        fcntl.flock(self.file, fcntl.LOCK_EX)
        os.write(self.file, line)
        fcntl.flock(self.file, fcntl.LOCK_UN)


HANDLERS: dict[str, Make] = {
    "ours": lambda path, size: RotatingFile(path, max_bytes=size, backup_count=BACKUPS),
    "concurrent-log-handler": lambda path, size: ConcurrentRotatingFileHandler(
        path, maxBytes=size, backupCount=BACKUPS
    ),
    "FileHandler (no rotation)": lambda path, size: logging.FileHandler(path),
    "write under flock (no logging)": lambda path, size: BareWrite(path),
}


def measure(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Return rate, p99, CPU time and the ratios to ours, for each case and handler."""
    rows: list[Row] = []
    for processes, size in CASES:
        runs: dict[str, list[Run]] = {name: [] for name in HANDLERS}
        for number in range(rounds):
            say(f"log: {processes} processes, {size >> 10} KiB, round {number + 1} of {rounds}")
            # In alternating order, so that none always runs after the same other one.
            for name, make in list(HANDLERS.items())[:: 1 if number % 2 else -1]:
                runs[name].append(run(make, processes, size))
        rows += [row(name, processes, size, runs) for name in HANDLERS]
    return rows


def row(name: str, processes: int, size: int, runs: dict[str, list[Run]]) -> Row:
    rates = [run.rate for run in runs[name]]
    pairs = list(zip(runs["ours"], runs[name], strict=True))
    ratios = [ours.rate / other.rate for ours, other in pairs]
    return {
        "handler": name,
        "processes": processes,
        "max_bytes": size,
        "lines_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "p99_ms": statistics.median(run.p99_ms for run in runs[name]),
        "cpu_us": statistics.median(run.cpu_us for run in runs[name]),
        "its_cpu_to_ours": statistics.median(other.cpu_us / ours.cpu_us for ours, other in pairs),
        "ours_to_it": statistics.median(ratios),
        "ours_to_it_lowest": min(ratios),
        "ours_to_it_highest": max(ratios),
    }


def run(make: Make, processes: int, size: int) -> Run:
    """Let this number of processes write for ``SECONDS``, once all of them have opened the log."""
    with tempfile.TemporaryDirectory(prefix="microblog-bench-") as name:
        folder, (ready, go) = Path(name), (os.pipe(), os.pipe())
        start = partial(_start, make, folder, size, ready[1], go)
        children = [fork(partial(start, number)) for number in range(processes)]
        os.close(ready[1])
        os.close(go[0])
        while os.read(ready[0], 1):  # until each has closed its end
            pass
        os.close(ready[0])
        os.close(go[1])
        ends = [os.wait4(child, 0) for child in children]
        if any(status for _, status, _ in ends):
            raise RuntimeError(f"A writer failed: {ends}")
        moments = [array("d", (folder / f"moments-{n}").read_bytes()) for n in range(processes)]
    calls = [after - before for own in moments for before, after in pairwise(own)]
    seconds = max(own[-1] for own in moments) - min(own[0] for own in moments)
    used = sum(usage.ru_utime + usage.ru_stime for _, _, usage in ends)
    p99 = statistics.quantiles(calls, n=100)[98]
    return Run(len(calls) / seconds, p99 * 1e3, used / len(calls) * 1e6)


def _start(
    make: Make, folder: Path, size: int, ready: int, go: tuple[int, int], number: int
) -> None:
    handler = make(folder / "bench.log", size)
    os.close(go[1])
    os.close(ready)
    os.read(go[0], 1)  # until all are ready
    _write(handler, folder / f"moments-{number}")


def _write(handler: logging.Handler, result: Path) -> None:
    """Write for ``SECONDS``, two lines at least, and save when each was written."""
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    call: Callable[[], object] = lambda: logger.info("%s", PADDING)  # noqa: E731
    if isinstance(handler, BareWrite):
        line = f"2026-01-01 00:00:00,000 INFO: {PADDING}\n".encode()
        call = lambda: handler.write(line)  # noqa: E731
    moments = array("d", [time.monotonic()])
    while moments[-1] < moments[0] + SECONDS or len(moments) < 3:
        call()
        moments.append(time.monotonic())
    result.write_bytes(moments.tobytes())


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| processes, files | handler | lines/s (lowest to highest) | p99 of a call | CPU per line "
        "| lines/s, ours to it (lowest to highest) | CPU per line, it to ours |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        "| {processes}, {kib} KiB | {handler} | {lines_per_second:,.0f} "
        "({lowest:,.0f} to {highest:,.0f}) | {p99_ms:.2f} ms | {cpu_us:.1f} µs | {ours_to_it:.2f} "
        "({ours_to_it_lowest:.2f} to {ours_to_it_highest:.2f}) | {its_cpu_to_ours:.2f} |".format(
            **row, kib=row["max_bytes"] >> 10
        )
        for row in rows
    ]
    return "\n".join(lines)
