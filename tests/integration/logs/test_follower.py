"""Following the log: every line once, however fast the files rotate."""

from __future__ import annotations

import re
import subprocess
import sys
import time
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
    wait_until(lambda: follower.read_text().count("\n") >= 2 * LINES + 1, "every line", seconds=60)
    shown = follower.read_text()
    for writer in range(2):
        mine = [int(number) for number in re.findall(rf"^writer-{writer} (\d+) ", shown, re.M)]
        assert flaw_of(mine, LINES) == ""


def test_tail_shows_every_line_at_fifty_rotations_a_second(
    path: Path,
    tmp_path: Path,
    start_writer: Callable[..., int],
    finish: Callable[..., None],
    wait_until: Callable[..., object],
) -> None:
    """``tail -F``, which ops have anyway: a file of 10 KiB holds about 110 lines."""
    path.parent.mkdir()
    path.touch()
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        tail = subprocess.Popen(
            ["tail", "--lines=+1", "--sleep-interval=0.02", "-F", str(path)],
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        begun = time.monotonic()

        def pace(number: int) -> None:
            time.sleep(max(0.0, begun + number / 5000 - time.monotonic()))

        finish(start_writer("paced", 25_000, backup_count=10, done=pace))
        assert time.monotonic() - begun > 25_000 / 110 / 50
        wait_until(lambda: shown.read_text().count("\n") >= 25_000, "every line", seconds=60)
    finally:
        tail.kill()
        tail.wait()
    assert (
        flaw_of([int(n) for n in re.findall(r"^paced (\d+) ", shown.read_text(), re.M)], 25_000)
        == ""
    )
