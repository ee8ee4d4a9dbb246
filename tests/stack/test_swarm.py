"""The stack on a Docker swarm of this engine, in one run: `make swarm-up` to `make swarm-down`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.stack.conftest import clone_checkout
from tests.support.compose import PROJECT, Stack, request, wait_until
from tests.support.steady_load import RATE, steady_load

FIRST = "    login.init_app(app)\n"
BROKEN = '    app.add_url_rule("/health/live", view_func=lambda: 1 / 0)\n'
QUICK_HEALTH = """\
services:
  web: {healthcheck: {start_period: 30s, interval: 1s, timeout: 5s}}
"""
# What `make swarm-up` sets on purpose.
OWN_NAMES = ("MAYDAY_NODE_NAME", "MAYDAY_COURIERS_AGREE", "MAYDAY_HTTP_BIND", "HTTP_BIND")


def make(stack: Stack, verb: str, check: bool = True, **environment: str) -> Any:
    return stack.run("make", verb, check=check, timeout=1200, **environment)


def swarm_state(stack: Stack) -> str:
    return stack.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()


def tasks_of(stack: Stack, service: str) -> list[str]:
    name = f"label=com.docker.swarm.service.name={stack.project}_{service}"
    return stack.run("docker", "ps", "--quiet", "--filter", name).stdout.split()


def task_of(stack: Stack, service: str) -> str:
    return tasks_of(stack, service)[0]


def container(stack: Stack, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.run("docker", "inspect", identifier).stdout)[0]
    return found


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A clone on a swarm that this test has made. An engine in another swarm is refused."""
    clone = clone_checkout(tmp_path_factory.mktemp("swarm") / "clone")
    (clone / "compose.override.yaml").write_text(QUICK_HEALTH)
    settings = {"HTTP_BIND": "0.0.0.0", "DRILL": "1", "WEB_REPLICAS": "2", "REPORT_WINDOW": "300"}
    stack = Stack(f"{PROJECT}-swarm", clone, settings)
    if swarm_state(stack) != "inactive":
        pytest.skip("this engine is in a swarm that the tests did not make")
    stack.compose("build")
    try:
        yield stack
    finally:
        make(stack, "swarm-down", YES="1", check=False)
        stack.run("docker", "network", "rm", "docker_gwbridge", check=False)
        stack.remove()


@contextmanager
def swarm_of_others(stack: Stack) -> Iterator[None]:
    """Put this engine into a swarm that `make swarm-up` has not made, during the block."""
    address = ("--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    stack.run("docker", "swarm", "init", *address)
    try:
        yield
    finally:
        stack.run("docker", "swarm", "leave", "--force")
        stack.run("docker", "network", "rm", "docker_gwbridge")


@pytest.fixture(scope="module")
def running(swarm: Stack) -> Stack:
    """The stack on the swarm, healthy."""
    refused = make(swarm, "swarm-up", check=False, HTTP_BIND="127.0.0.1", DRILL="0")
    assert "set HTTP_BIND=0.0.0.0" in refused.stderr
    assert swarm_state(swarm) == "inactive"
    with swarm_of_others(swarm):
        refused = make(swarm, "swarm-up", check=False, DRILL="0")
        assert "set SWARM=existing" in refused.stderr
        assert not swarm.run("docker", "service", "ls", "--quiet").stdout
        make(swarm, "swarm-down")
        assert swarm_state(swarm) == "active"
    make(swarm, "swarm-up")
    return swarm


def load(stack: Stack) -> Any:
    return steady_load(
        lambda: request(f"{stack.url}/explore", timeout=30).status,
        lambda: request(f"{stack.url}/drill/log-burst", form={"lines": "1"}, timeout=30).status,
    )


def test_an_error_has_its_page_its_mail_and_its_log_entry(running: Stack) -> None:
    done = running.make("drill")
    request_id = done.stdout.rpartition("REQUEST=")[2].strip()
    assert request_id in running.make("mail").stdout
    log = running.make("logs", f"REQUEST={request_id}").stdout
    assert log.count("Traceback (most recent call last)") == 1
    assert "POST /drill/exception" in log


def test_containers_are_as_compose_would_make_them(running: Stack) -> None:
    model = json.loads(running.compose("config", "--format", "json"))["services"]
    for service in ("web", "db", "nginx", "mailhog"):
        found, wanted = container(running, task_of(running, service)), model[service]
        host = found["HostConfig"]
        assert found["Config"]["User"] == wanted["user"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] == int(wanted["mem_limit"])
        assert host["PidsLimit"] == wanted["pids_limit"]
        assert host["LogConfig"]["Config"] == wanted["logging"]["options"]
        environment = dict(pair.split("=", 1) for pair in found["Config"]["Env"])
        for name, value in wanted.get("environment", {}).items():
            if name not in OWN_NAMES:
                assert environment[name] == value.replace("$$", "$"), name


def test_each_service_reads_its_own_secrets_only(running: Stack) -> None:
    def listed(service: str) -> dict[str, str]:
        script = "cd /run/secrets && for f in * .[a-z]*; do stat -c '%n %a %u' $f; done"
        shown = running.run("docker", "exec", task_of(running, service), "sh", "-c", script).stdout
        return {line.split()[0]: line.split(" ", 1)[1] for line in shown.splitlines()}

    web = listed("web")
    assert web["secret_key"] == web["web_password"] == "400 10001"
    assert not {"migrate_password", "postgres_password"} & set(web)
    assert "secret_key" not in listed("db")


def test_scaling_and_a_new_version_fail_no_request(running: Stack) -> None:
    code = running.directory / "app" / "__init__.py"
    before = task_of(running, "web")
    with load(running) as outcomes:
        running.make("scale", "N=4")
        running.make("scale", "N=2")
        code.write_text(code.read_text() + "\nREVISION = 2\n")
        make(running, "swarm-up", RELEASE="second")
    assert sum(outcomes.values()) > RATE
    assert set(outcomes) == {200}
    assert task_of(running, "web") != before


def serving_tasks(stack: Stack) -> set[str]:
    """Return the web tasks that have answered requests from nginx."""
    tasks = tasks_of(stack, "web")
    logs = {task: stack.run("docker", "logs", "--tail", "50", task).stdout for task in tasks}
    return {task for task, log in logs.items() if '"GET /explore"' in log}


def test_a_killed_task_costs_only_the_requests_that_it_held(running: Stack) -> None:
    failed: list[float] = []

    def ask() -> int:
        begun = time.monotonic()
        answer = request(f"{running.url}/explore", timeout=30)
        if answer.status != 200:
            assert answer.request_id in answer.text
            failed.append(begun)
        return answer.status

    with steady_load(ask) as outcomes:
        for task in tasks_of(running, "web"):
            wait_until(lambda: len(serving_tasks(running)) == 2, "two tasks serve")
            running.run("docker", "kill", "--signal", "KILL", task)
            running.run("docker", "wait", task)  # until then, its processes accept connections
            ended = time.monotonic()
            wait_until(lambda: len(serving_tasks(running)) == 2, "a new task serves")
            assert not [begun for begun in failed if begun > ended]
    assert set(outcomes) <= {200, 502}


def test_a_version_that_is_not_healthy_is_rolled_back(running: Stack) -> None:
    code = running.directory / "app" / "__init__.py"
    good = code.read_text()
    assert FIRST in good
    code.write_text(good.replace(FIRST, BROKEN + FIRST))
    try:
        with load(running) as outcomes:
            done = make(running, "swarm-up", check=False, RELEASE="broken")
    finally:
        code.write_text(good)
    assert done.returncode != 0
    assert "the swarm went back to the one before" in done.stderr
    assert set(outcomes) == {200}
    subjects = [line for line in running.make("mail").stdout.splitlines() if "health" in line]
    assert len(subjects) == 1, "one mail about the errors of the refused version"


def secret_names(stack: Stack, service: str) -> set[str]:
    names = "{{range .Spec.TaskTemplate.ContainerSpec.Secrets}}{{.SecretName}} {{end}}"
    inspect = ("docker", "service", "inspect", "--format", names, f"{stack.project}_{service}")
    return set(stack.run(*inspect).stdout.split())


def test_rotated_secrets_fail_no_request(running: Stack) -> None:
    before, database = secret_names(running, "web"), task_of(running, "db")
    with load(running) as outcomes:
        make(running, "rotate-secrets")
    assert set(outcomes) == {200}
    assert before
    assert not before & secret_names(running, "web")
    assert task_of(running, "db") == database
    listing = ("docker", "service", "ls", "--format", "{{.Name}}")
    services = running.run(*listing).stdout.replace(f"{running.project}_", "").split()
    used = {name for service in services for name in secret_names(running, service)}
    secrets = running.run("docker", "secret", "ls", "--format", "{{.Name}}").stdout.split()
    assert set(secrets) == used, "none is left that nothing uses"


def test_swarm_down_leaves_the_swarm_and_deletes_the_data_only_if_told_to(running: Stack) -> None:
    make(running, "swarm-down")
    assert swarm_state(running) == "inactive"
    volumes = running.run("docker", "volume", "ls", "--format", "{{.Name}}").stdout.split()
    assert {f"{running.project}_{name}" for name in ("db", "spool", "secrets")} <= set(volumes)
    wait_until(
        lambda: "docker_gwbridge" not in running.run("docker", "network", "ls").stdout,
        "the bridge is removed",
    )
    make(running, "swarm-down", YES="1")
    volumes = running.run("docker", "volume", "ls", "--format", "{{.Name}}").stdout
    images = running.run("docker", "images", "--format", "{{.Repository}}").stdout
    assert running.project not in volumes + images
