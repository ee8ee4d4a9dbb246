"""Prints the log of a service from all nodes, one task after the other.

Usage: ``task_logs.py SERVICE [NODE]``, without the tasks of NODE. Says on stderr what could not be
read. Each task is read with a time limit: if a node was lost and came back, the engine may send all
lines of a task and then never close the stream.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO

TIMEOUT = 20.0  # seconds for each task
AT_ONCE = 8  # tasks


def main(service: str, without: str = "") -> int:
    """Print the tasks' logs, in the order of ``docker service ps``."""
    listing = ["docker", "service", "ps", "--no-trunc", "--format", "{{.ID}} {{.Node}}", service]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"error: {done.stderr.strip()}", file=sys.stderr)
        return 1
    tasks = [line.partition(" ") for line in done.stdout.splitlines()]
    wanted = [(task, node) for task, _, node in tasks if node not in ("", without)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for log in pool.map(lambda one: read(*one), wanted):
            with log:
                sys.stdout.buffer.writelines(log)
    sys.stdout.flush()
    return 0


def read(task: str, node: str) -> IO[bytes]:
    """Return what the engine sends of a task's log within the time limit."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    command = ["docker", "service", "logs", "--raw", task]
    try:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.PIPE, check=False, timeout=TIMEOUT
        )
        if done.returncode:
            print(f"The log of a task on {node} cannot be read: {reason(done)}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"The log of a task on {node} may be incomplete.", file=sys.stderr)
    log.seek(0)
    return log


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the end of a failed command's message."""
    lines = done.stderr.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "unknown")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
