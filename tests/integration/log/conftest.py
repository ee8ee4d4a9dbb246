"""The path of the log, and writer processes that end with the test."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import writers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "microblog.log"


@pytest.fixture
def start_writer(path: Path) -> Iterator[Callable[..., int]]:
    """Return a function that starts a writer process and returns its pid."""
    started: list[int] = []

    def start(
        name: str, lines: int, max_bytes: int = 10_240, backup_count: int = 1_000_000, **how: object
    ) -> int:
        started.append(
            writers.fork(lambda: writers.write(path, name, lines, max_bytes, backup_count, **how))
        )
        return started[-1]

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@pytest.fixture
def finish() -> Callable[..., None]:
    """Return a function that waits for writers and checks that none failed."""

    def wait(*pids: int) -> None:
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert statuses == [0] * len(pids)

    return wait
