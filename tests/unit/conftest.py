"""What the unit tests share: a folder in memory, because the disk took most of their time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox

MEMORY = Path("/dev/shm")
QUOTA = 16 << 20  # bytes


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder for one test, in memory where the machine offers that."""
    with tempfile.TemporaryDirectory(
        prefix="mayday-unit-",
        dir=MEMORY if MEMORY.is_dir() else None,
        ignore_cleanup_errors=True,  # a courier may be closing its files
    ) as name:
        yield Path(name)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "spool", QUOTA)
    yield made
    made.close()


@pytest.fixture
def mailbox_of(outbox: Outbox) -> Iterator[Callable[[], Mailbox]]:
    """Return a function that opens the courier's side of the outbox."""
    opened: list[Mailbox] = []

    def open_mailbox() -> Mailbox:
        opened.append(Mailbox(outbox))
        return opened[-1]

    yield open_mailbox
    for mailbox in opened:
        mailbox.close()
