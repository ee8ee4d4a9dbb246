"""More visitors than threads: nginx's own page is never the only trace of a 504."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.compose import Stack, wait_until

THREADS = 2 * 4  # WEB_CONCURRENCY and WEB_THREADS of the stack
QUEUED = 12


def test_visitors_in_the_queue_get_the_apps_504_and_every_504_is_reported(stack: Stack) -> None:
    """Every request hangs if it is begun; most are in the queue when their time is up."""
    visitors = THREADS + QUEUED
    with ThreadPoolExecutor(visitors) as clients:
        answers = list(clients.map(lambda _: stack.drill("timeout"), range(visitors)))
    assert {answer.status for answer in answers} == {504}
    assert all(answer.request_id in answer.text for answer in answers)
    identifiers = {answer.request_id for answer in answers}
    wait_until(lambda: identifiers <= _reported(stack), "a report of each")
    groups = stack.spool(
        "SELECT DISTINCT fingerprint FROM reports"
        " WHERE json_extract(body, '$.message') LIKE 'Overloaded: %'"
    )
    assert len(groups) == 1
    wait_until(stack.is_healthy, "new workers")


def _reported(stack: Stack) -> set[object]:
    return {row[0] for row in stack.spool("SELECT request_id FROM reports")}
