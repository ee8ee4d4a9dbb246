"""The limits and counters of control groups, in files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_mayday.gunicorn import cgroup, worker_deaths

MIB = 1 << 20


class Group:
    """A folder in place of /sys/fs/cgroup, for version 1 or 2 of control groups."""

    def __init__(self, root: Path, version: int) -> None:
        self.memory = root / "memory" if version == 1 else root
        self.pids = root / "pids" if version == 1 else root
        self.names = {
            "limit": ("memory.limit_in_bytes", "memory.max")[version - 1],
            "used": ("memory.usage_in_bytes", "memory.current")[version - 1],
            "kills": ("memory.oom_control", "memory.events")[version - 1],
        }
        self.cache = ("total_inactive_file", "inactive_file")[version - 1]
        self.unlimited = (str((1 << 63) - 4096), "max")[version - 1]
        for folder in (self.memory, self.pids):
            folder.mkdir(exist_ok=True)

    def set(self, name: str, value: object) -> None:
        (self.memory / self.names[name]).write_text(f"{value}\n")


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    lines = "9:memory:/docker/1\n8:pids:/docker/1\n" if request.param == 1 else "0::/\n"
    (tmp_path / "self").write_text(lines)
    monkeypatch.setattr(cgroup, "OWN_GROUPS", tmp_path / "self")
    return Group(tmp_path, request.param)


def test_the_limits_are_read(group: Group) -> None:
    group.set("limit", 512 * MIB)
    (group.pids / "pids.max").write_text("256\n")
    assert (cgroup.memory_limit(), cgroup.thread_limit()) == (512 * MIB, 256)


def test_a_group_without_limits_has_none(group: Group) -> None:
    group.set("limit", group.unlimited)
    (group.pids / "pids.max").write_text("max\n")
    assert (cgroup.memory_limit(), cgroup.thread_limit()) == (None, None)


def test_droppable_cache_does_not_count_as_used_memory(group: Group) -> None:
    group.set("used", 100 * MIB)
    (group.memory / "memory.stat").write_text(f"anon 1\n{group.cache} {30 * MIB}\n")
    assert cgroup.memory_used() == 70 * MIB


def test_without_control_groups_there_are_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "OWN_GROUPS", tmp_path / "is-not-there")
    functions = (cgroup.memory_limit, cgroup.memory_used, cgroup.memory_kills, cgroup.thread_limit)
    assert [function() for function in functions] == [None] * 4


def test_each_kill_that_the_kernel_counts_explains_one_death(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(kills: int) -> None:
        group.set("kills", f"low 0\noom 9\noom_kill {kills}")

    write(3)  # before the server started
    group.set("limit", 512 * MIB)
    monkeypatch.setattr(worker_deaths, "_memory_kills", cgroup.memory_kills())
    outside = ": not for lack of memory, according to the kernel"
    assert worker_deaths._why_killed() == outside
    write(5)
    short = ": out of memory, according to the kernel (limit: 512 MiB)"
    assert [worker_deaths._why_killed() for _ in range(3)] == [short, short, outside]


def test_without_a_counter_both_causes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "OWN_GROUPS", tmp_path / "is-not-there")
    monkeypatch.setattr(worker_deaths, "_memory_kills", None)
    expected = ", by another process or by the kernel for lack of memory"
    assert worker_deaths._why_killed() == expected
