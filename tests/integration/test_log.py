"""One rotating log for many processes: every line is whole, written once, and in order."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flask_mayday.redaction.redactor import Redactor
from flask_mayday.reporting import registry
from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.settings import read_settings
from tests.support.writers import files

LIMIT = 10_240
WRITERS = 8
LINES = 2000
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: writer (\d+) line (\d+) (x*) end"
    r" \[in \S+:\d+\] \[request -\]"
)

FORK = multiprocessing.get_context("fork")


_pipelines: list[Pipeline] = []  # the registry has weak references only


def configure_log(folder: Path) -> None:
    settings = read_settings(
        {
            "LOG_DIR": folder,
            "LOG_FILE": "microblog.log",
            "LOG_MAX_BYTES": LIMIT,
            "LOG_BACKUP_COUNT": 100_000,
        }
    )
    _pipelines.append(Pipeline(settings, Redactor([])))
    registry.register(_pipelines[-1])
    registry.lower_root_level("INFO")


def write(name: int, lines: int, stdout: int) -> None:
    """Write numbered lines of different lengths, as a forked worker does."""
    os.dup2(stdout, 1)  # the log is copied to stdout, which this test does not read
    for number in range(lines):
        logging.getLogger("test").info(
            "writer %d line %d %s end", name, number, "x" * (number * 7 % 120)
        )


def start(name: int, lines: int) -> BaseProcess:
    with open(os.devnull, "w") as nowhere:
        process = FORK.Process(target=write, args=(name, lines, nowhere.fileno()))
        process.start()
    return process


def read_back(folder: Path) -> dict[int, list[int]]:
    """Return each writer's numbers in the order of the log; check that every line is whole."""
    found: dict[int, list[int]] = defaultdict(list)
    there = files(folder / "microblog.log")
    for file in there:
        content = file.read_text()
        assert content.endswith("\n") or not content  # killed between the rotation and the line
        assert len(content) <= LIMIT
        for line in content.splitlines():
            match = LINE.fullmatch(line)
            assert match, f"torn: {line!r}"
            name, number = int(match[1]), int(match[2])
            assert len(match[3]) == number * 7 % 120
            found[name].append(number)
    # No file is rotated too early: each but the last has less than one line to spare.
    assert all(file.stat().st_size > LIMIT - 400 for file in there[:-1])
    return found


def test_eight_processes_lose_tear_duplicate_and_reorder_no_line(tmp_path: Path) -> None:
    configure_log(tmp_path)
    logging.getLogger("test").info("writer 99 line 0  end")  # the parent's file is open
    writers = [start(name, LINES) for name in range(WRITERS)]
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    found = read_back(tmp_path)
    assert found.pop(99) == [0]
    assert found == {name: list(range(LINES)) for name in range(WRITERS)}
    assert len(files(tmp_path / "microblog.log")) > 100


def test_a_killed_writer_leaves_no_torn_line_and_does_not_affect_the_others(
    tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    configure_log(tmp_path)
    lasting = {name: start(name, LINES) for name in range(4)}
    mortal = {name: start(name, 1_000_000) for name in range(4, WRITERS)}
    name = WRITERS
    while any(process.is_alive() for process in lasting.values()):
        time.sleep(0.03)  # the interval between kills; there is no condition to wait for
        victim = random.choice(list(mortal))
        killed = mortal.pop(victim)
        assert killed.pid is not None
        os.kill(killed.pid, signal.SIGKILL)
        killed.join(60)
        mortal[name] = start(name, 1_000_000)
        name += 1
    for process in mortal.values():
        process.kill()
        process.join(60)
    for process in lasting.values():
        process.join(60)
        assert process.exitcode == 0
    found = read_back(tmp_path)
    for writer, numbers in found.items():
        assert numbers == list(range(len(numbers))), f"writer {writer}"
    assert {writer: len(found[writer]) for writer in lasting} == dict.fromkeys(lasting, LINES)
    assert name > WRITERS + 2
