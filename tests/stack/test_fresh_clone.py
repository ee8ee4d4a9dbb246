"""In a fresh clone `docker compose up` is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, base_images, end


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A fresh clone, in which nothing but .env has been written."""
    clone = clone_checkout(tmp_path_factory.mktemp("fresh") / "clone")
    lines = [f"{name}={value}\n" for name, value in base_images().items()]
    (clone / ".env").write_text("".join(lines))
    stack = Stack(f"{PROJECT}-fresh", clone)
    stack.remove()
    yield stack
    end(stack)


def test_compose_up_in_a_fresh_clone_ends_healthy(cloned: Stack) -> None:
    cloned.compose("up", "--detach", "--wait")
    assert cloned.drill("exception").status == 500
    assert cloned.compose("up", "--detach", "--wait") is not None


def test_a_root_owned_log_folder_mounted_as_the_volume_gets_our_owner(
    cloned: Stack,
) -> None:
    folder = cloned.directory / "mounted-logs"
    folder.mkdir(mode=0o755)
    mount = {"volumes": ["./mounted-logs:/var/log/microblog"]}
    override = {"services": dict.fromkeys(("web", "migrate", "init"), mount)}
    (cloned.directory / "compose.override.yaml").write_text(str(override).replace("'", '"'))
    cloned.compose("up", "--detach", "--wait")
    answer = cloned.drill("exception")
    log = (folder / "microblog.log").read_text()
    assert f"[request {answer.request_id}]" in log
    assert folder.stat().st_uid == 10001
