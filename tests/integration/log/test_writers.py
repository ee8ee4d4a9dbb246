"""Many processes write one log: no line is lost, torn, doubled or out of its writer's order.

``LOG_RUNS`` and ``LOG_KILLS`` in the environment make the tests run longer.
"""

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

from tests.support.writers import fault_in, files, lines_by_writer

PROCESSES, LINES = 8, 10_000
RUNS = int(os.environ.get("LOG_RUNS", "2"))
KILLS = int(os.environ.get("LOG_KILLS", "40"))


def faults(path: Path, last: int) -> dict[str, str]:
    found = lines_by_writer(path)
    return {name: fault for name in found if (fault := fault_in(found[name], last))}


@pytest.mark.parametrize("run", range(RUNS))
def test_eight_processes_lose_nothing_in_files_of_ten_kibibytes(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None], run: int
) -> None:
    finish(*[start_writer(f"writer-{n}", LINES) for n in range(PROCESSES)])
    assert len(lines_by_writer(path)) == PROCESSES
    assert faults(path, LINES) == {}
    *full, _ = files(path)
    line = len(f"writer-0 {LINES}  end\n") + 60
    assert {file.stat().st_size for file in full} <= set(range(10_241 - line, 10_241))


def test_ten_backups_hold_the_last_lines_without_a_gap(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    finish(*[start_writer(f"writer-{n}", LINES, backup_count=10) for n in range(PROCESSES)])
    there = files(path)
    assert len(there) == 11
    assert sum(file.stat().st_size for file in there) <= 11 * 10_240
    found = lines_by_writer(path)
    assert sum(map(len, found.values())) > 10 * 10_240 // 90
    for name, mine in found.items():
        assert fault_in(mine, LINES, first=mine[0]) == "", name


def test_killed_writers_lose_no_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """Every 50 ms a random writer gets SIGKILL, and another one takes its place."""
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

    found = lines_by_writer(path)
    assert found.pop("last") == [1]
    assert sum(map(len, found.values())) > 1000
    for slot in slot_of.values():
        done = int.from_bytes(progress[8 * slot : 8 * slot + 8], "little")
        mine = found.get(f"writer-{slot}", [])
        assert len(mine) in (done, done + 1)  # the last line may have been written, not counted
        assert fault_in(mine, len(mine)) == ""


@pytest.mark.parametrize("max_bytes", [1, 300])
def test_kills_at_random_moments_of_rotation_lose_no_line_and_no_order(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None], max_bytes: int
) -> None:
    """Every file holds one record or three, so that a writer mostly rotates."""
    choice, backup_count = random.Random(max_bytes), 10
    progress = mmap.mmap(-1, 8 * KILLS)
    for kill in range(KILLS):
        name, field = f"writer-{kill}", slice(8 * kill, 8 * kill + 8)

        def done(number: int, field: slice = field) -> None:
            progress[field] = number.to_bytes(8, "little")

        pids = [
            start_writer(writer, 1_000_000, max_bytes, backup_count, **how)
            for writer, how in ((name, {"done": done}), (f"other-{kill}", {}))
        ]
        while not progress[field].strip(b"\0"):
            time.sleep(0.0005)
        time.sleep(choice.uniform(0, 0.01))  # the random moment; nothing is waited for
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        written = int.from_bytes(progress[field], "little")
        finish(start_writer("after", 1, max_bytes, backup_count))  # repairs a partial line
        found = lines_by_writer(path)
        for writer in (name, f"other-{kill}"):
            mine = found.get(writer, [])
            assert mine == list(range(mine[0], mine[-1] + 1)) if mine else True, writer
        if name in found:
            assert found[name][-1] in (written, written + 1)
        times = [file.stat().st_mtime_ns for file in files(path)]
        assert times == sorted(times)
        assert len(times) >= backup_count or kill < 20  # each kill leaves two records or more


def test_a_rename_from_outside_loses_no_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """logrotate renames by default; with ``dateext`` its names differ from ours."""
    pids = [start_writer(f"writer-{n}", LINES, max_bytes=1 << 30) for n in range(4)]
    moved = []
    for number in range(2000):
        time.sleep(0.005)
        with contextlib.suppress(FileNotFoundError):
            moved.append(path.rename(path.with_name(f"microblog.log-{number:04}")))
        if len(moved) == 20:
            break
    finish(*pids)
    assert len(moved) > 2
    lines = "".join(file.read_text() for file in [*moved, path] if file.exists()).splitlines()
    for writer in range(4):
        mine = [int(line.split()[1]) for line in lines if line.startswith(f"writer-{writer} ")]
        assert fault_in(mine, LINES) == ""


def test_copytruncate_leaves_no_gap_and_no_partial_line(
    path: Path, start_writer: Callable[..., int], finish: Callable[..., None]
) -> None:
    """It loses the lines between its copy and its cut, and must not cause anything else."""
    pids = [start_writer(f"writer-{n}", LINES, max_bytes=1 << 30) for n in range(4)]
    cuts = 0
    for _ in range(2000):
        time.sleep(0.005)
        if path.exists() and path.stat().st_size:
            os.truncate(path, 0)
            cuts += 1
        if cuts == 20:
            break
    finish(*pids)
    assert cuts > 2
    assert b"\0" not in path.read_bytes()
    for mine in lines_by_writer(path).values():
        assert mine == sorted(set(mine))
        assert mine[-1] == LINES
