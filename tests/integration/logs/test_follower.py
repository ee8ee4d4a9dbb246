"""Following the log: every line once, however fast the files rotate."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.logs.reader import files
from tests.integration.conftest import ROOT
from tests.writers import flaw_of

LINES = 60_000  # over 500 files of 10 KiB for each of two writers


@pytest.fixture
def follower(path: Path, tmp_path: Path) -> Iterator[Path]:
    """Follow the log in a process, as ``make logs`` does; return where its output goes."""
    path.parent.mkdir()
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.logs.reader"],
            cwd=ROOT,
            env={"LOG_DIR": str(path.parent)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        yield shown
        process.kill()
        process.wait()


def test_a_thousand_rotations_flat_out_are_followed_line_by_line(
    path: Path,
    follower: Path,
    start_writer: Callable[..., int],
    finish: Callable[..., None],
    wait_until: Callable[..., object],
) -> None:
    """With ten backups: what the follower misses is overwritten a moment later."""
    finish(start_writer("before", 1))
    wait_until(lambda: follower.read_text().count("\n") == 1, "the first line")
    finish(*[start_writer(f"writer-{n}", LINES, backup_count=10) for n in range(2)])
    assert len(files(path)) == 11
    wait_until(lambda: follower.read_text().count("\n") >= 2 * LINES + 1, "every line", seconds=10)
    shown = follower.read_text()
    for writer in range(2):
        mine = [int(number) for number in re.findall(rf"^writer-{writer} (\d+) ", shown, re.M)]
        assert flaw_of(mine, LINES) == ""
