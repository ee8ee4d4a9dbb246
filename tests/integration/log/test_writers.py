"""Many processes write one log: no line is lost, torn, doubled or out of its writer's order."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_mayday.log.reader import files
from tests.support.writers import flaw_of, numbers

PROCESSES, LINES = 8, 10_000
# LOG_RUNS=20 for the long figure.
RUNS = int(os.environ.get("LOG_RUNS", "2"))


def flaws(path: Path, last: int) -> dict[str, str]:
    found = numbers(path)
    return {name: flaw for name in found if (flaw := flaw_of(found[name], last))}


@pytest.mark.parametrize("run", range(RUNS))
def test_eight_processes_lose_nothing_in_files_of_ten_kibibytes(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None], run: int
) -> None:
    finish(*[start_writer(f"writer-{n}", LINES) for n in range(PROCESSES)])
    assert len(numbers(path)) == PROCESSES
    assert flaws(path, LINES) == {}
    *full, _ = files(path)
    line = len(f"writer-0 {LINES}  end\n") + 60
    assert {file.stat().st_size for file in full} <= set(range(10_241 - line, 10_241))


def test_ten_backups_hold_a_gapless_end_of_what_was_written(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    finish(*[start_writer(f"writer-{n}", LINES, backup_count=10) for n in range(PROCESSES)])
    there = files(path)
    assert len(there) == 11
    assert sum(file.stat().st_size for file in there) <= 11 * 10_240
    found = numbers(path)
    assert sum(map(len, found.values())) > 10 * 10_240 // 90
    for name, mine in found.items():
        assert flaw_of(mine, LINES, first=mine[0]) == "", name


def test_a_killed_writer_costs_nobody_a_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """A random writer gets SIGKILL every 50 ms, and another takes its place."""
    kills, choice = 60, random.Random(1)
    progress = mmap.mmap(-1, 8 * (kills + PROCESSES))
    slot_of: dict[int, int] = {}

    def start() -> None:
        slot = len(slot_of)

        def done(number: int) -> None:
            progress[8 * slot : 8 * slot + 8] = number.to_bytes(8, "little")

        slot_of[start_writer(f"writer-{slot}", 1_000_000, done=done)] = slot

    for _ in range(PROCESSES):
        start()
    living = list(slot_of)
    for _ in range(kills):
        time.sleep(0.05)
        pid = living.pop(choice.randrange(len(living)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        start()
        living.append(list(slot_of)[-1])
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finish(start_writer("last", 1))

    found = numbers(path)
    assert found.pop("last") == [1]
    assert sum(map(len, found.values())) > 10_000
    for slot in slot_of.values():
        told = int.from_bytes(progress[8 * slot : 8 * slot + 8], "little")
        mine = found.get(f"writer-{slot}", [])
        # The last line may have been written and not told of.
        assert len(mine) in (told, told + 1)
        assert flaw_of(mine, len(mine)) == ""


def test_a_rename_from_outside_loses_no_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """What logrotate does by default; names of its own (dateext) leave our slots alone."""
    pids = [start_writer(f"writer-{n}", LINES, max_bytes=1 << 30) for n in range(4)]
    moved = []
    for number in range(20):
        time.sleep(0.02)
        with contextlib.suppress(FileNotFoundError):
            moved.append(path.rename(path.with_name(f"microblog.log-{number:02}")))
    finish(*pids)
    assert len(moved) > 2
    lines = "".join(file.read_text() for file in [*moved, path] if file.exists()).splitlines()
    for writer in range(4):
        mine = [int(line.split()[1]) for line in lines if line.startswith(f"writer-{writer} ")]
        assert flaw_of(mine, LINES) == ""


def test_a_copytruncate_leaves_no_hole_and_no_half_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """Lines between the copy and the cut are lost by its nature; nothing else may happen."""
    pids = [start_writer(f"writer-{n}", LINES, max_bytes=1 << 30) for n in range(4)]
    cuts = 0
    for _ in range(20):
        time.sleep(0.02)
        if path.exists() and path.stat().st_size:
            os.truncate(path, 0)
            cuts += 1
    finish(*pids)
    assert cuts > 2
    assert b"\0" not in path.read_bytes()
    for mine in numbers(path).values():
        assert mine == sorted(set(mine))
        assert mine[-1] == LINES
