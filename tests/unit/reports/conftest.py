"""What the tests of reports share: an outbox in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.reports.outbox import Outbox
from app.reports.queue import Queue

ROOM = 16 << 20  # bytes


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
