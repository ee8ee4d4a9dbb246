"""What the unit tests share: a folder in memory, for most of their time was the disk's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder for one test, in memory where the machine offers that."""
    with tempfile.TemporaryDirectory(
        prefix="microblog-unit-", dir=MEMORY if MEMORY.is_dir() else None
    ) as name:
        yield Path(name)
