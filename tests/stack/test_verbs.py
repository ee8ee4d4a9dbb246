"""The verbs of the Makefile, and what stays behind after them."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.compose import Stack, wait_until


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


def test_make_drill_says_how_to_turn_drills_on(other_stack: Stack) -> None:
    other_stack.settings["DRILL"] = "0"
    other_stack.up("--build")
    done = other_stack.run("python3", "docker/verbs/drill.py", check=False)
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


def test_a_taken_port_names_the_setting_to_change(other_stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", other_stack.http_port))
        other.listen()
        done = other_stack.make("up", check=False)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"Port {other_stack.http_port} is taken" in output
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


def test_scale_runs_more_web_containers_which_all_serve(stack: Stack) -> None:
    stack.make("scale", "N=3")
    try:
        assert len(stack.containers("web")) == 3

        def all_serve() -> bool:
            stack.get("/nothing-here")
            lines = stack.compose("logs", "web").splitlines()
            serving = {line.split("|")[0].strip() for line in lines if "/nothing-here" in line}
            return len(serving) == 3

        wait_until(all_serve, "requests in all three containers")
        startups = stack.log().count("INFO: Microblog startup [")
        assert startups >= 3
    finally:
        stack.make("scale", "N=1")
    assert len(stack.containers("web")) == 1


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


@pytest.fixture
def base_images_in_use(other_stack: Stack) -> object:
    """Hold the base images, which `make clean` would delete, by containers of somebody else."""
    names = [
        value
        for key, value in other_stack.environment.items()
        if key.endswith("_IMAGE") and value.startswith("microblog-base/")
    ]
    held = [
        other_stack.run("docker", "create", name, "true").stdout.strip()
        for name in [*names, _debian(other_stack)]
        if name
    ]
    yield
    for container in held:
        other_stack.run("docker", "rm", "--volumes", container)


def _debian(stack: Stack) -> str:
    listed = stack.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    return next((name for name in listed if name.startswith("microblog-base/debian:")), "")


def _everything(stack: Stack) -> dict[str, set[str]]:
    return {
        "containers": set(stack.run("docker", "ps", "--all", "--quiet").stdout.split()),
        "volumes": set(stack.run("docker", "volume", "ls", "--quiet").stdout.split()),
        "networks": set(stack.run("docker", "network", "ls", "--quiet").stdout.split()),
        "images": set(
            stack.run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        ),
    }


@pytest.mark.usefixtures("base_images_in_use")
def test_clean_leaves_nothing_of_ours_and_takes_nothing_of_others(other_stack: Stack) -> None:
    before = _everything(other_stack)
    other_stack.make("up")
    assert _everything(other_stack) != before

    refused = other_stack.make("clean", check=False)
    assert refused.returncode != 0
    assert "make clean YES=1" in refused.stderr

    other_stack.make("clean", "YES=1")
    assert _everything(other_stack) == before


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
