"""More visitors than threads: nginx's own page is never the only trace of a 504."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.compose import SETTINGS, Answer, Stack, wait_until

THREADS = 2 * 4  # WEB_CONCURRENCY and WEB_THREADS of the stack
QUEUED = 12


def test_visitors_in_the_queue_get_the_apps_504_and_every_504_is_reported(stack: Stack) -> None:
    timeout = float(SETTINGS["REQUEST_TIMEOUT"])
    taken: list[float] = []

    def visit(_: int) -> Answer:
        begun = time.monotonic()
        answer = stack.get("/login")
        taken.append(time.monotonic() - begun)
        return answer

    with ThreadPoolExecutor(THREADS + QUEUED) as clients:
        hanging = [clients.submit(stack.drill, "timeout") for _ in range(THREADS)]
        wait_until(lambda: _is_busy(stack), "all threads to be busy", 8)
        queued = list(clients.map(visit, range(QUEUED)))
        answers = queued + [one.result() for one in hanging]
    assert {answer.status for answer in answers} == {504}
    assert timeout <= min(taken)
    lines = stack.compose("logs", "--no-log-prefix", "nginx").splitlines()
    found = [next(one for one in lines if answer.request_id in one) for answer in queued]
    seconds = [float(re.findall(r'" 504 ([0-9.]+) s ', line)[0]) for line in found]
    # nginx gives up a second after REQUEST_TIMEOUT; a busy machine may be as slow.
    assert sum(one < timeout + 1 for one in seconds) >= QUEUED / 2
    assert all(answer.request_id in answer.text for answer in answers)
    identifiers = {answer.request_id for answer in answers}
    wait_until(lambda: identifiers <= _reported(stack), "a report of each", 20)
    groups = stack.spool(
        "SELECT DISTINCT fingerprint FROM reports"
        " WHERE json_extract(body, '$.message') LIKE 'Overloaded: %'"
    )
    assert len(groups) == 1
    wait_until(stack.is_healthy, "new workers")


def _is_busy(stack: Stack) -> bool:
    """Return whether as many requests are being served as there are threads."""
    script = "grep -c ':1F40 [0-9A-F:]* 01 ' /proc/net/tcp || true"  # connections to port 8000
    return int(stack.shell("web", script).split()[0]) >= THREADS


def _reported(stack: Stack) -> set[object]:
    return {row[0] for row in stack.spool("SELECT request_id FROM reports")}
