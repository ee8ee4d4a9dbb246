"""A stack that is healthy at the start of every test, and fresh clones to start others from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, end

# Several processes share the files. The longest come first, so that all end at about the same time.
LONGEST = (
    "stack/test_documented_commands.py",
    "stack/test_rolling.py",
    "stack/test_watch.py",
    "stack/test_backup.py",
    "stack/test_three_containers.py",
    "stack/test_httpbin.py",
    "stack/test_verbs.py",
    "stack/test_pages.py",
    "stack/test_rotation.py",
    "stack/test_small_app.py",
    "stack/test_tls.py",
    "stack/test_odd_settings.py",
    "browser/test_pages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"tests/{name}": rank for rank, name in enumerate(LONGEST)}
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
    docker = Stack(PROJECT).run
    label = f"microblog.tests.holder={PROJECT}"

    def remove() -> None:
        held = docker("docker", "ps", "--all", "--quiet", f"--filter=label={label}").stdout.split()
        if held:
            docker("docker", "rm", "--volumes", *held)

    remove()  # those of a run that was killed
    built = ["docker", "images", "--filter", "reference=microblog-base/*"]
    for name in docker(*built, "--format", "{{.Repository}}:{{.Tag}}").stdout.split():
        docker("docker", "create", f"--label={label}", name, "true")
    yield
    remove()
