"""What the tests of reports share: an outbox in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.reports.outbox import Outbox

ROOM = 16 << 20  # bytes


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "spool", ROOM)
    yield made
    made.close()
