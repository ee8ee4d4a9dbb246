"""Replacing containers under load: nobody notices."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.compose import Stack, request

RATE = 20  # requests a second


@contextmanager
def load(stack: Stack) -> Iterator[Counter[str]]:
    """Send 20 requests a second, reading and writing in turn, while the block runs."""
    outcomes: Counter[str] = Counter()
    ended = threading.Event()
    threads = []

    def send(number: int) -> None:
        try:
            if number % 2:
                answer = request(f"{stack.url}/explore", timeout=30)
            else:
                answer = request(f"{stack.url}/drill/log-burst", form={"lines": "1"}, timeout=30)
            outcomes[str(answer.status)] += 1
            if answer.status >= 500:
                assert answer.request_id in answer.text
        except Exception as error:
            outcomes[repr(error)] += 1

    def every_50_ms() -> None:
        number = 0
        begun = time.monotonic()
        while not ended.wait(max(0.0, begun + number / RATE - time.monotonic())) and number < 6000:
            number += 1
            thread = threading.Thread(target=send, args=(number,))
            thread.start()
            threads.append(thread)

    sender = threading.Thread(target=every_50_ms)
    sender.start()
    try:
        yield outcomes
    finally:
        ended.set()
        sender.join()
        for thread in threads:
            thread.join()


def _settle(stack: Stack) -> None:
    """Wait until nginx has forgotten the containers that are gone: it remembers for a second."""
    good_since = time.monotonic()
    deadline = good_since + 30
    while time.monotonic() - good_since < 2:
        if request(f"{stack.url}/explore").status != 200:
            good_since = time.monotonic()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_make_up_with_a_new_version_fails_no_request(other_stack: Stack) -> None:
    other_stack.make("up")
    code = other_stack.directory / "app" / "__init__.py"
    code.write_text(code.read_text().replace("__version__ =", "__version__: str ="))
    before = other_stack.containers("web")
    with load(other_stack) as outcomes:
        other_stack.make("up")
    assert set(other_stack.containers("web")).isdisjoint(before)
    assert sum(outcomes.values()) > RATE
    said = [line for line in other_stack.compose("logs", "nginx").splitlines() if "[error]" in line]
    assert set(outcomes) == {"200"}, "\n".join(said)


def test_scaling_up_and_down_fails_no_request(stack: Stack) -> None:
    try:
        with load(stack) as outcomes:
            stack.make("scale", "N=3")
            assert len(stack.containers("web")) == 3
            stack.make("scale", "N=1")
        assert set(outcomes) == {"200"}
    finally:
        stack.make("scale", "N=1")


def test_a_web_container_killed_beside_another_costs_only_what_it_held(stack: Stack) -> None:
    stack.make("scale", "N=2")
    try:
        with load(stack) as outcomes:
            victim = stack.containers("web")[0]
            stack.run("docker", "kill", victim)
            time.sleep(3)
        assert set(outcomes) <= {"200", "502"}
        assert outcomes["502"] <= 4
    finally:
        stack.compose("up", "--detach", "--wait", "--no-build", "--scale", "web=1")


def test_a_restart_of_the_database_shows_nothing_but_503_pages(stack: Stack) -> None:
    _settle(stack)
    with load(stack) as outcomes:
        stack.compose("restart", "db")
        deadline = time.monotonic() + 30
        while request(f"{stack.url}/explore").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert set(outcomes) <= {"200", "500", "503"}
    # Seen once in six runs: a statement that is cut off in its middle ends as a 500 page.
    assert outcomes["500"] <= 1
    with load(stack) as after:
        time.sleep(2)
    assert set(after) == {"200"}


def test_compose_up_by_hand_with_a_new_version_shows_only_pages_of_ours(
    other_stack: Stack,
) -> None:
    other_stack.compose("up", "--detach", "--build", "--wait")
    code = other_stack.directory / "app" / "__init__.py"
    code.write_text(code.read_text().replace("__version__ =", "__version__: str ="))
    before = other_stack.containers("web")
    with load(other_stack) as outcomes:
        other_stack.compose("up", "--detach", "--build", "--wait")
    assert other_stack.containers("web") != before
    # 504 where nginx, for a second, still waits for the address of the web that has gone.
    assert set(outcomes) <= {"200", "502", "504"}
