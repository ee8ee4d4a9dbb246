"""What the unit tests share: a folder in memory, for most of their time was the disk's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_mayday.spool.mailbox import Queue
from flask_mayday.spool.outbox import Outbox

MEMORY = Path("/dev/shm")
ROOM = 16 << 20  # bytes


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder for one test, in memory where the machine offers that."""
    with tempfile.TemporaryDirectory(
        prefix="microblog-unit-", dir=MEMORY if MEMORY.is_dir() else None
    ) as name:
        yield Path(name)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "spool", ROOM)
    yield made
    made.close()


@pytest.fixture
def queue_of(outbox: Outbox) -> Iterator[Callable[[], Queue]]:
    """Return a function that opens the courier's side of the outbox."""
    opened: list[Queue] = []

    def open_queue() -> Queue:
        opened.append(Queue(outbox))
        return opened[-1]

    yield open_queue
    for queue in opened:
        queue.close()
