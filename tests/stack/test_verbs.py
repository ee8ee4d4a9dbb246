"""The verbs of the Makefile, and what stays behind after them."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, base_images, end


def test_make_alone_prints_every_verb(stack: Stack) -> None:
    printed = stack.make().stdout
    verbs = "up test check drill logs mail ps down clean engine bases engine-stop dev debug scale"
    verbs += " backup restore rotate-secrets"
    for verb in verbs.split():
        assert f"  make {verb} " in printed


def test_make_up_on_a_running_stack_changes_nothing_and_prints_the_addresses(
    stack: Stack,
) -> None:
    before = stack.containers("web")
    printed = stack.make("up").stdout
    assert stack.containers("web") == before
    assert stack.url in printed
    assert stack.mailhog in printed


def test_make_drill_proves_page_mail_and_log(stack: Stack) -> None:
    for _ in range(2):
        printed = stack.make("drill").stdout
        for part in ("page", "log", "mail"):
            assert f" s  {part} " in printed


def test_make_drill_names_the_part_that_is_missing(stack: Stack) -> None:
    stack.compose("stop", "web")
    done = stack.run("python3", "docker/verbs/drill.py", check=False)
    assert done.returncode == 1
    assert "The page is missing: status 50" in done.stderr


def test_make_drill_says_how_to_turn_drills_on(stack: Stack) -> None:
    up = ("docker", "compose", "up", "--detach", "--wait", "--no-build", "--no-deps", "web")
    stack.run(*up, DRILL="0")
    try:
        done = stack.run("python3", "docker/verbs/drill.py", check=False, DRILL="0")
    finally:
        stack.run(*up)
    assert done.returncode == 2
    assert "set DRILL=1" in done.stderr


def test_make_mail_lists_the_captured_mails(stack: Stack) -> None:
    answer = stack.drill("exception")
    stack.mail_of(answer.request_id)
    printed = stack.make("mail").stdout
    assert answer.request_id in printed
    assert stack.mailhog in printed


def test_make_logs_says_when_a_request_has_left_no_line(stack: Stack) -> None:
    done = stack.make("logs", "REQUEST=" + "0" * 32, check=False)
    assert done.returncode != 0
    assert "is neither in the log nor in nginx's log" in done.stderr
    assert "is not a request id" in stack.make("logs", "REQUEST=x", check=False).stderr


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A fresh clone that has not been started: the next test does, and the last one cleans up."""
    stack = Stack(f"{PROJECT}-own", clone_checkout(tmp_path_factory.mktemp("own") / "clone"))
    stack.remove()
    yield stack
    end(stack)


def test_a_taken_port_names_the_setting_to_change(own_stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", own_stack.http_port))
        other.listen()
        done = own_stack.make("up", check=False)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"Port {own_stack.http_port} is taken" in output
    assert "HTTP_PORT" in output


def test_a_bad_address_is_named_with_its_setting_before_anything_changes(stack: Stack) -> None:
    for name, value in [
        ("HTTP_PORT", "abc"),
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "99999"),
        ("MAILHOG_PORT", "-1"),
        ("HTTP_BIND", "foo"),
    ]:
        done = stack.make("up", check=False, **{name: value})
        assert done.returncode != 0
        assert f"{name} is '{value}', which is not " in done.stderr
        assert f": {name}=" in done.stderr
        assert "Building" not in done.stdout
    done = stack.make("up", check=False, HTTP_PORT=str(stack.mailhog_port))
    assert f"HTTP_PORT and MAILHOG_PORT are both {stack.mailhog_port}." in done.stderr
    assert stack.is_healthy()


def test_down_and_up_keep_data_log_and_undelivered_mail(stack: Stack) -> None:
    stack.compose("stop", "mailhog")
    answer = stack.drill("exception")
    assert answer.status == 500
    web_password = stack.shell("web", "cat /run/secrets/web_password")
    stack.shell("db", "psql -U postgres microblog -c 'CREATE TABLE kept (id int)'")

    stack.make("down")
    assert stack.compose("ps", "--all", "--quiet") == ""
    stack.make("up")

    assert stack.shell("web", "cat /run/secrets/web_password") == web_password
    query = "psql -U postgres microblog -Atc 'SELECT count(*) FROM kept'"
    assert stack.shell("db", query) == "0\n"
    stack.shell("db", "psql -U postgres microblog -c 'DROP TABLE kept'")
    assert f"[request {answer.request_id}]" in stack.log()
    assert stack.mail_of(answer.request_id)


def _parts(stack: Stack, *, by_name: bool = False) -> dict[str, set[str]]:
    """Return the ids of all that belongs to a stack, by its labels or by names with its project."""
    project = f"label=com.docker.compose.project={stack.project}"
    image = f"label=microblog.stack.project={stack.project}"
    if by_name:
        project, image = f"name={stack.project}", f"reference={stack.project}*"
    listed = {
        "containers": ("ps --all --quiet --no-trunc", project),
        "volumes": ("volume ls --quiet", project),
        "networks": ("network ls --quiet --no-trunc", project),
        "images": ("images --quiet --no-trunc", image),
    }
    return {
        kind: set(stack.run("docker", *command.split(), "--filter", what).stdout.split())
        for kind, (command, what) in listed.items()
    }


def _bases(stack: Stack) -> set[str]:
    """Return the names of the base images built here."""
    named = (
        "images",
        "--filter",
        "reference=microblog-base/*",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    )
    return set(stack.run("docker", *named).stdout.split())


@pytest.fixture
def neighbour(own_stack: Stack) -> Iterator[Callable[[], int]]:
    """Things of somebody else in the same engine; returns how many of them are there."""
    name = f"neighbour-{secrets.token_hex(4)}"
    docker = lambda *command, **options: own_stack.run("docker", *command, **options)  # noqa: E731
    image = base_images().get("PYTHON_IMAGE", "python:3.13-slim-trixie")
    docker("tag", image, name)
    docker("network", "create", name)
    docker("volume", "create", name)
    docker(
        "create", "--name", name, "--network", name, "--volume", f"{name}:/volume", image, "true"
    )
    kinds = ("container", "volume", "network", "image")
    yield lambda: sum(docker(kind, "inspect", name, check=False).returncode == 0 for kind in kinds)
    docker("rm", name)
    docker("volume", "rm", name)
    docker("network", "rm", name)
    docker("image", "rm", name)


def test_clean_leaves_nothing_of_ours_and_takes_nothing_of_others(
    stack: Stack, own_stack: Stack, neighbour: Callable[[], int]
) -> None:
    before = _parts(stack)
    own_stack.make("up")
    assert all(_parts(own_stack).values())
    bases = _bases(own_stack)

    refused = own_stack.make("clean", check=False)
    assert refused.returncode != 0
    assert "make clean YES=1" in refused.stderr
    assert all(_parts(own_stack).values())

    own_stack.make("clean", "YES=1")
    assert not any(_parts(own_stack).values())
    assert not any(_parts(own_stack, by_name=True).values())
    assert neighbour() == 4
    assert _parts(stack) == before
    assert _bases(own_stack) >= bases


def test_compose_config_needs_no_env_file_and_names_every_service(stack: Stack) -> None:
    config = json.loads(stack.compose("config", "--format", "json"))
    assert set(config["services"]) == {
        "nginx",
        "web",
        "watch",
        "migrate",
        "init",
        "db",
        "roles",
        "mailhog",
        "mailguard",
    }
