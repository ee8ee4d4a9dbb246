"""How the logs of all nodes are read, with a stand-in for the engine's client."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

TASKS = "one node1\ntwo node2\nlost node3\nwaiting \n"


def docker(command: list[str], **keys: Any) -> subprocess.CompletedProcess[Any]:
    """Answer as the client does; the log of the task ``two`` does not end."""
    if command[:3] == ["docker", "service", "ps"]:
        return subprocess.CompletedProcess(command, 0, TASKS, "")
    if (task := command[-1]) == "lost":
        return subprocess.CompletedProcess(command, 1, b"", b"node3 is not available\n\n")
    keys["stdout"].write(f"of {task}\n".encode())
    if task == "two":
        raise subprocess.TimeoutExpired(command, keys["timeout"])
    return subprocess.CompletedProcess(command, 0, b"", b"")


@pytest.fixture
def task_logs(load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load("deploy/swarm/task_logs.py")
    monkeypatch.setattr(module.subprocess, "run", docker)
    return module


def test_what_could_not_be_read_is_named_and_the_rest_is_printed(
    task_logs: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert task_logs.main("m_web") == 0
    shown = capfd.readouterr()
    assert shown.out == "of one\nof two\n"
    assert "task on node2 may be incomplete" in shown.err
    assert "task on node3 cannot be read: node3 is not available" in shown.err


def test_a_node_is_left_out(task_logs: Any, capfd: pytest.CaptureFixture[str]) -> None:
    task_logs.main("m_web", "node2")
    assert capfd.readouterr().out == "of one\n"
