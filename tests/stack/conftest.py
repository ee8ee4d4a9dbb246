"""A stack that is healthy at the start of every test, and fresh clones to start others from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose import PROJECT, ROOT, Stack, end


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The running stack, healthy at the start of every test, whatever the one before has broken."""
    if not running_stack.is_healthy():
        running_stack.up("--no-build")
    return running_stack


@pytest.fixture
def other_stack(tmp_path: Path) -> Iterator[Stack]:
    """A fresh clone that has never been started, as a project of its own."""
    stack = Stack(f"{PROJECT}-other", clone_checkout(tmp_path / "clone"))
    stack.remove()
    yield stack
    end(stack)


def clone_checkout(clone: Path) -> Path:
    """Clone this checkout, with what is not committed yet, so that the tests test what is there."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("git diff HEAD --binary", "git ls-files --others --exclude-standard -z"):
        _copy_uncommitted(clone, name)
    return clone


def _copy_uncommitted(clone: Path, command: str) -> None:
    output = subprocess.run(command.split(), cwd=ROOT, capture_output=True, check=True).stdout
    if "diff" in command:
        if output:
            subprocess.run(["git", "apply"], cwd=clone, input=output, check=True)
        return
    for name in filter(None, output.decode().split("\0")):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
        target.chmod((ROOT / name).stat().st_mode)
