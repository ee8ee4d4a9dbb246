"""Connections from nginx to web: two minutes at the highest rate that web can serve.

The side that closes a connection first keeps its port occupied for a minute (TIME_WAIT). If that
were nginx, it would run out of ports, and its CPU time per request would grow while it looks for a
free one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.bench.cpu import cpu_seconds, pid_of
from tests.bench.load import load
from tests.support.compose import Stack

PROJECT: Final = "microblog-bench"
PATH: Final = "/health/live"  # the cheapest answer of web
PARTS, PART_SECONDS = 6, 20
INTERVAL: Final = 1.0  # seconds between two counts of sockets
TIME_WAIT: Final = "06"  # in /proc/net/tcp

Row = dict[str, Any]


def measure(say: Callable[[str], None]) -> list[Row]:
    """Return a row for each part of the two minutes."""
    stack = Stack(PROJECT, settings={"DRILL": "0"})
    try:
        say("starting the stack")
        stack.make("up")
        names = {service: stack.containers(service)[0] for service in ("nginx", "web")}
        return [_part(stack.http_port, names, number, say) for number in range(PARTS)]
    finally:
        stack.remove()


def _part(port: int, containers: dict[str, str], number: int, say: Callable[[str], None]) -> Row:
    """Send requests for one part; return rate, CPU time per request, failures and sockets."""
    say(f"connections, part {number + 1} of {PARTS}")
    pids = {service: pid_of(name) for service, name in containers.items()}
    counts: dict[str, list[int]] = {service: [] for service in containers}
    is_over = threading.Event()

    def count() -> None:
        while not is_over.wait(INTERVAL):
            for service, pid in pids.items():
                counts[service].append(sockets_in_time_wait(pid))

    before = {service: cpu_seconds(name) for service, name in containers.items()}
    counter = threading.Thread(target=count)
    counter.start()
    try:
        run = load(port, PART_SECONDS, PATH, keep_alive=True)
    finally:
        is_over.set()
        counter.join()
    used = {service: cpu_seconds(name) - before[service] for service, name in containers.items()}
    return {
        "seconds": f"{number * PART_SECONDS} to {(number + 1) * PART_SECONDS}",
        "rate": run["rate"],
        "failed": run["failures"] + run["refusals"],
        "cpu_ms": {name: seconds * 1000 / run["requests"] for name, seconds in used.items()},
        "time_wait": {service: max(found, default=0) for service, found in counts.items()},
    }


def sockets_in_time_wait(pid: str) -> int:
    """Return how many sockets are in TIME_WAIT in the network namespace of a process."""
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return sum(line[3] == TIME_WAIT for line in lines)


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| seconds | requests/s | failed | CPU per request, nginx | web "
        "| sockets in TIME_WAIT at most, nginx | web |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['seconds']} | {row['rate']:,.0f} | {row['failed']:,.0f} "
        f"| {row['cpu_ms']['nginx']:.3f} ms | {row['cpu_ms']['web']:.3f} ms "
        f"| {row['time_wait']['nginx']:,} | {row['time_wait']['web']:,} |"
        for row in rows
    ]
    return "\n".join(lines)
