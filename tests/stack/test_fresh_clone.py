"""In a fresh clone `docker compose up` is enough."""

from __future__ import annotations

from tests.support.compose import Stack, base_images


def test_compose_up_in_a_fresh_clone_ends_healthy(other_stack: Stack) -> None:
    lines = [f"{name}={value}\n" for name, value in base_images().items()]
    (other_stack.directory / ".env").write_text("".join(lines))
    other_stack.compose("up", "--detach", "--wait")
    assert other_stack.drill("exception").status == 500
    assert other_stack.compose("up", "--detach", "--wait") is not None


def test_a_root_owned_log_folder_mounted_as_the_volume_gets_our_owner(
    other_stack: Stack,
) -> None:
    folder = other_stack.directory / "mounted-logs"
    folder.mkdir(mode=0o755)
    mount = {"volumes": ["./mounted-logs:/var/log/microblog"]}
    override = {"services": dict.fromkeys(("web", "migrate", "init"), mount)}
    (other_stack.directory / "compose.override.yaml").write_text(str(override).replace("'", '"'))
    other_stack.compose("up", "--detach", "--wait")
    answer = other_stack.drill("exception")
    log = (folder / "microblog.log").read_text()
    assert f"[request {answer.request_id}]" in log
    assert folder.stat().st_uid == 10001
