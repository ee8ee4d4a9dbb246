"""A follower shows every line once, at any speed of rotation."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT
from tests.support.writers import fault_in, files

LINES = 60_000  # over 500 files of 10 KiB for each of two writers
IN_A_FILE = 110  # lines in a file of 10 KiB


@pytest.fixture
def follower(path: Path, tmp_path: Path) -> Iterator[Path]:
    """Follow the log in a process, as ``make logs`` does; return the path of its output."""
    path.parent.mkdir()
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask_mayday.log.reader"],
            cwd=ROOT,
            env={"LOG_DIR": "nowhere", "MAYDAY_LOG_DIR": str(path.parent)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        yield shown
        process.kill()
        process.wait()


def keep_in_reach(shown: Path, name: str, lead: int) -> Callable[[int], None]:
    """Return a ``done`` for a writer that keeps it at most ``lead`` lines ahead of the follower.

    A follower that gets no processor for a second could not show what was deleted meanwhile.
    """
    mine, seen, rest = f"{name} ".encode(), 0, b""
    output = shown.open("rb")
    give_up = time.monotonic() + 600

    def wait(number: int) -> None:
        nonlocal seen, rest
        while number - seen > lead and time.monotonic() < give_up:
            lines, _, rest = (rest + output.read()).rpartition(b"\n")
            seen += lines.count(mine)
            if number - seen > lead:
                time.sleep(0.001)

    return wait


def test_every_line_is_shown_once_across_a_thousand_rotations_at_full_speed(
    path: Path,
    follower: Path,
    start_writer: Callable[..., int],
    finish: Callable[..., None],
    wait_until: Callable[..., object],
) -> None:
    """Only ten backups are kept, so a file that the follower misses is deleted soon."""
    finish(start_writer("before", 1))
    wait_until(lambda: follower.read_text().count("\n") == 1, "the first line")
    reach = 8 * IN_A_FILE // 2
    finish(
        *[
            start_writer(name, LINES, backup_count=10, done=keep_in_reach(follower, name, reach))
            for name in ("writer-0", "writer-1")
        ]
    )
    assert len(files(path)) == 11
    wait_until(lambda: follower.read_text().count("\n") >= 2 * LINES + 1, "every line", seconds=300)
    shown = follower.read_text()
    for writer in range(2):
        mine = [int(number) for number in re.findall(rf"^writer-{writer} (\d+) ", shown, re.M)]
        assert fault_in(mine, LINES) == ""


def test_tail_shows_every_line_at_fifty_rotations_a_second(
    path: Path,
    tmp_path: Path,
    start_writer: Callable[..., int],
    finish: Callable[..., None],
    wait_until: Callable[..., object],
) -> None:
    """``tail -F`` has to look at least once while a file is the newest."""
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
        in_reach = keep_in_reach(shown, "paced", IN_A_FILE)

        def pace(number: int) -> None:
            in_reach(number)
            time.sleep(max(0.0, begun + number / 5000 - time.monotonic()))

        finish(start_writer("paced", 25_000, backup_count=10, done=pace))
        assert time.monotonic() - begun > 25_000 / IN_A_FILE / 50
        wait_until(lambda: shown.read_text().count("\n") >= 25_000, "every line", seconds=300)
    finally:
        tail.kill()
        tail.wait()
    assert (
        fault_in([int(n) for n in re.findall(r"^paced (\d+) ", shown.read_text(), re.M)], 25_000)
        == ""
    )
