"""A stack that is healthy at the start of every test, and fresh clones to start others from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, end

# Two processes share the files. The longest come first, so that both end at about the same time.
LONGEST = (
    "any_app",
    "documented_commands",
    "watch",
    "rolling",
    "backup",
    "verbs",
    "three_containers",
    "pages",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"tests/stack/test_{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


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


@pytest.fixture(scope="session", autouse=True)
def base_images_in_use() -> Iterator[None]:
    """Hold the base images built here, which `make clean` would delete, by containers."""
    holder = Stack(f"{PROJECT}-holder")
    built = ["docker", "images", "--filter", "reference=microblog-base/*"]
    names = holder.run(*built, "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    held = [holder.run("docker", "create", name, "true").stdout.strip() for name in names]
    yield
    if held:
        holder.run("docker", "rm", "--volumes", *held)
