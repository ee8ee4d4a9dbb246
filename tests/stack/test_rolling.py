"""Containers are replaced under load without a failed request."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from tests.support.compose import Answer, Stack, request, wait_until
from tests.support.steady_load import RATE, steady_load


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
    deadline = good_since + 30
    while time.monotonic() - good_since < 2:
        if request(f"{stack.url}/explore").status != 200:
            good_since = time.monotonic()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_make_up_with_a_new_version_fails_no_request_even_if_it_runs_twice(
    other_stack: Stack,
) -> None:
    other_stack.make("up")
    code = other_stack.directory / "app" / "__init__.py"
    code.write_text(code.read_text() + "\nREVISION = 2\n")
    before = other_stack.containers("web")
    with load(other_stack) as outcomes, ThreadPoolExecutor() as pool:
        both = list(pool.map(other_stack.make, ["up", "up"]))
    assert sum("waiting for it to end" in done.stdout for done in both) == 1
    assert len(other_stack.containers("web")) == 1
    assert set(other_stack.containers("web")).isdisjoint(before)
    assert sum(outcomes.values()) > RATE
    said = [line for line in other_stack.compose("logs", "nginx").splitlines() if "[error]" in line]
    assert set(outcomes) == {200}, "\n".join(said)


FIRST = "    login.init_app(app)\n"
QUICK_HEALTH = """\
services:
  web:
    stop_grace_period: 3s
    healthcheck: {start_period: 20s, interval: 1s, timeout: 2s, retries: 2}
"""
GATEWAY = (
    "while read _ to gateway _; do [ $to != 00000000 ] || echo $gateway; done </proc/net/route"
)


def test_an_unhealthy_new_version_does_not_replace_the_old_one(other_stack: Stack) -> None:
    (other_stack.directory / "compose.override.yaml").write_text(QUICK_HEALTH)
    other_stack.make("up")
    code = other_stack.directory / "app" / "__init__.py"
    good = code.read_text()
    broken = '    app.add_url_rule("/health/live", view_func=lambda: 1 / 0)\n'
    assert FIRST in good
    code.write_text(good.replace(FIRST, broken + FIRST))
    before = other_stack.containers("web")
    with load(other_stack) as outcomes:
        done = other_stack.make("up", check=False)
    assert done.returncode != 0
    assert "web-2 is running, unhealthy. The end of its log:" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "web-1" not in done.stderr
    assert set(outcomes) == {200}
    assert other_stack.compose("ps", "--all", "--quiet", "web").split() == before

    # The old container hangs, which must not stop the fixed version from replacing it.
    other_stack.run("docker", "kill", "--signal", "STOP", *before)
    other_stack.shell("web", "kill -STOP $(cat /proc/1/task/1/children)")
    wait_until(lambda: other_stack.health("web") == "unhealthy", "a hung web container")
    code.write_text(good)
    other_stack.make("up")
    (after,) = other_stack.containers("web")
    assert after not in before
    assert other_stack.get("/explore").status == 200

    # A restart keeps the container's default gateway.
    gateway = other_stack.shell("web", GATEWAY)
    other_stack.run("docker", "restart", after)
    wait_until(lambda: other_stack.get("/explore").status == 200, "the restarted container")
    assert other_stack.shell("web", GATEWAY) == gateway != ""


def test_scaling_up_and_down_fails_no_request(stack: Stack) -> None:
    try:
        with load(stack) as outcomes:
            stack.make("scale", "N=3")
            assert len(stack.containers("web")) == 3
            stack.make("scale", "N=1")
        assert set(outcomes) == {200}
    finally:
        stack.make("scale", "N=1")


def test_killing_one_of_two_web_containers_fails_only_its_own_requests(stack: Stack) -> None:
    stack.make("scale", "N=2")
    try:
        with load(stack) as outcomes:
            victim = stack.containers("web")[0]
            stack.run("docker", "kill", victim)
            time.sleep(3)
        assert set(outcomes) <= {200, 502}
        assert outcomes[502] <= 4
    finally:
        stack.make("scale", "N=1")


def test_restarts_of_the_database_cause_only_503_pages(stack: Stack) -> None:
    _settle(stack)
    with load(stack) as outcomes:
        for _ in range(5):
            stack.compose("restart", "db")
            wait_until(lambda: request(f"{stack.url}/explore").status == 200, "the database")
    assert set(outcomes) == {200, 503}
    with load(stack) as after:
        time.sleep(2)
    assert set(after) == {200}


def test_compose_up_with_a_new_version_shows_only_our_pages(
    other_stack: Stack,
) -> None:
    other_stack.compose("up", "--detach", "--build", "--wait")
    code = other_stack.directory / "app" / "__init__.py"
    code.write_text(code.read_text() + "\nREVISION = 2\n")
    before = other_stack.containers("web")
    with load(other_stack) as outcomes:
        other_stack.compose("up", "--detach", "--build", "--wait")
    assert other_stack.containers("web") != before
    assert set(outcomes) <= {200, 502}
