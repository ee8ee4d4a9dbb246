"""Containers are replaced under load without a failed request."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Answer, Stack, end, request, wait_until
from tests.support.steady_load import RATE, steady_load


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack whose code these tests change, each to a version of its own."""
    clone = clone_checkout(tmp_path_factory.mktemp("rolling") / "clone")
    stack = Stack(f"{PROJECT}-rolling", clone)
    stack.remove()
    stack.make("up")
    yield stack
    end(stack)


def _write_new_version(stack: Stack) -> None:
    code = stack.directory / "app" / "__init__.py"
    code.write_text(f"{code.read_text()}\nREVISION = '{uuid.uuid4()}'\n")


def _all_containers(stack: Stack) -> dict[str, str]:
    """Return the names of all containers by their ids, those that have ended too."""
    listed = stack.compose("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Name}}")
    return dict(line.split() for line in listed.splitlines())


def load(stack: Stack) -> AbstractContextManager[Counter[int | str]]:
    """Read and write in turn, 20 times a second, while the block runs."""

    def status(answer: Answer) -> int:
        assert answer.status < 500 or answer.request_id in answer.text
        return answer.status

    return steady_load(
        lambda: status(request(f"{stack.url}/explore", timeout=30)),
        lambda: status(request(f"{stack.url}/drill/log-burst", form={"lines": "1"}, timeout=30)),
    )


def _settle(stack: Stack) -> None:
    """Wait until nginx has forgotten the removed containers, which takes a second."""
    good_since = time.monotonic()
    deadline = good_since + 120
    while time.monotonic() - good_since < 2:
        if request(f"{stack.url}/explore").status != 200:
            good_since = time.monotonic()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_make_up_with_a_new_version_fails_no_request_even_if_it_runs_twice(
    own_stack: Stack,
) -> None:
    _write_new_version(own_stack)
    before = own_stack.containers("web")
    with load(own_stack) as outcomes, ThreadPoolExecutor() as pool:
        both = list(pool.map(own_stack.make, ["up", "up"]))
    assert sum("waiting for it to end" in done.stdout for done in both) == 1
    assert len(own_stack.containers("web")) == 1
    assert set(own_stack.containers("web")).isdisjoint(before)
    assert sum(outcomes.values()) > RATE
    said = [line for line in own_stack.compose("logs", "nginx").splitlines() if "[error]" in line]
    assert set(outcomes) == {200}, "\n".join(said)


def test_plain_compose_up_replaces_nothing_after_make_up_and_make_scale(own_stack: Stack) -> None:
    def nothing_is_replaced_by(*command: str) -> None:
        before = _all_containers(own_stack)
        with steady_load(lambda: request(f"{own_stack.url}/explore").status) as outcomes:
            own_stack.run(*command)
        assert _all_containers(own_stack) == before
        assert set(outcomes) == {200}

    (web,) = own_stack.containers("web")
    if _all_containers(own_stack)[web].endswith("-web-1"):  # the test above has not run
        _write_new_version(own_stack)
        own_stack.make("up")
    own_stack.make("scale", "N=2")  # beside a container that was rolled
    nothing_is_replaced_by("docker", "compose", "up", "--detach", "--wait")
    nothing_is_replaced_by("make", "up")
    assert len(own_stack.containers("web")) == 2
    own_stack.make("scale", "N=1")


def test_compose_up_with_a_new_version_shows_only_our_pages(own_stack: Stack) -> None:
    _write_new_version(own_stack)
    before = own_stack.containers("web")
    with load(own_stack) as outcomes:
        own_stack.compose("up", "--detach", "--build", "--wait")
    assert own_stack.containers("web") != before
    assert set(outcomes) <= {200, 502}


FIRST = "    login.init_app(app)\n"
QUICK_HEALTH = """\
services:
  web:
    stop_grace_period: 3s
    healthcheck: {start_period: 30s, interval: 1s, timeout: 5s, retries: 2}
"""
GATEWAY = (
    "while read _ to gateway _; do [ $to != 00000000 ] || echo $gateway; done </proc/net/route"
)


def test_an_unhealthy_new_version_does_not_replace_the_old_one(own_stack: Stack) -> None:
    code = own_stack.directory / "app" / "__init__.py"
    override = own_stack.directory / "compose.override.yaml"
    good = code.read_text()
    override.write_text(QUICK_HEALTH)
    try:
        _replace_by_a_broken_version_and_a_good_one(own_stack, code, good)
    finally:
        code.write_text(good)
        override.unlink()


def _replace_by_a_broken_version_and_a_good_one(own_stack: Stack, code: Path, good: str) -> None:
    own_stack.make("up")
    broken = '    app.add_url_rule("/health/live", view_func=lambda: 1 / 0)\n'
    assert FIRST in good
    code.write_text(good.replace(FIRST, broken + FIRST))
    before = own_stack.containers("web")
    with load(own_stack) as outcomes:
        done = own_stack.make("up", check=False)
    assert done.returncode != 0
    assert re.search(r"-web-\d+ is running, unhealthy\. The end of its log:", done.stderr)
    assert "ZeroDivisionError" in done.stderr
    name = own_stack.run("docker", "inspect", "--format", "{{.Name}}", *before).stdout
    assert name.strip("/\n") not in done.stderr
    assert set(outcomes) == {200}
    assert own_stack.compose("ps", "--all", "--quiet", "web").split() == before

    # The old container hangs, which must not stop the fixed version from replacing it.
    own_stack.run("docker", "kill", "--signal", "STOP", *before)
    own_stack.shell("web", "kill -STOP $(cat /proc/1/task/1/children)")
    wait_until(lambda: own_stack.health("web") == "unhealthy", "a hung web container")
    code.write_text(good)
    own_stack.make("up")
    (after,) = own_stack.containers("web")
    assert after not in before
    assert own_stack.get("/explore").status == 200

    # A restart keeps the container's default gateway.
    gateway = own_stack.shell("web", GATEWAY)
    own_stack.run("docker", "restart", after)
    wait_until(lambda: own_stack.get("/explore").status == 200, "the restarted container")
    assert own_stack.shell("web", GATEWAY) == gateway != ""


def test_scaling_fails_no_request_and_every_container_serves(stack: Stack) -> None:
    def all_serve() -> bool:
        stack.get("/nothing-here")
        lines = stack.compose("logs", "web").splitlines()
        serving = {line.split("|")[0].strip() for line in lines if "/nothing-here" in line}
        return len(serving) == 3

    with load(stack) as outcomes:
        stack.make("scale", "N=3")
        try:
            assert len(stack.containers("web")) == 3
            wait_until(all_serve, "requests in all three containers")
            assert stack.log().count("INFO: Microblog startup [") >= 3
        finally:
            stack.make("scale", "N=1")
    assert set(outcomes) == {200}
    assert len(stack.containers("web")) == 1


def test_killing_one_of_two_web_containers_fails_only_its_own_requests(stack: Stack) -> None:
    stack.make("scale", "N=2")
    try:
        with load(stack) as outcomes:
            victim = stack.containers("web")[0]
            stack.run("docker", "kill", victim)
            sent = outcomes.total()
            wait_until(lambda: outcomes.total() > sent + 3 * RATE, "requests of 3 s")
        assert set(outcomes) <= {200, 502}
        assert outcomes[502] <= 2 * 4 + 2  # those in its threads; nginx asks the other for the rest
    finally:
        stack.make("scale", "N=1")


def test_restarts_of_the_database_cause_only_503_pages(stack: Stack) -> None:
    _settle(stack)
    with load(stack) as outcomes:
        for _ in range(5):
            before = outcomes[200]
            wait_until(lambda: outcomes[200] > before + 4, "pages")  # noqa: B023
            stack.compose("restart", "db")
    assert set(outcomes) == {200, 503}
    _settle(stack)  # each worker notices for itself that the database is back
    with load(stack) as after:
        wait_until(lambda: after.total() > 2 * RATE, "requests of 2 s")
    assert set(after) == {200}
