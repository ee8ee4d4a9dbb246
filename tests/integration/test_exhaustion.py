"""A worker that runs out of file descriptors, memory or threads is replaced before it fails."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.gunicorn.watchdog import POLL_INTERVAL

APP = "tests.integration.sources_app:make()"
QuerySpool = Callable[[str], list[tuple[Any, ...]]]
MESSAGES = "SELECT json_extract(body, '$.message') FROM reports"


@pytest.mark.parametrize("each", [1, 3])
def test_a_worker_that_leaks_sockets_is_replaced_and_visitors_notice_nothing(
    gunicorn: Callable[..., Any],
    query_spool: QuerySpool,
    smtp_server: Any,
    wait_until: Callable[..., Any],
    each: int,
) -> None:
    server = gunicorn(APP, **smtp_server.settings, SOURCES_NOFILE=128, WEB_CONCURRENCY=2)
    wait_until(lambda: len(server.workers()) == 2, "both workers")
    first = set(server.workers())

    def visit(_: int) -> int:
        return int(server.request(f"/leak_sockets?count={each}").status)

    with ThreadPoolExecutor(2) as clients:
        statuses = list(clients.map(visit, range(400 // each)))
    assert set(statuses) == {200}
    wait_until(lambda: not first & set(server.workers()), "replacements of both workers")
    wait_until(lambda: smtp_server.mails, "the mail")
    server.stop()
    messages = [message for (message,) in query_spool(MESSAGES)]
    assert len(messages) >= 2
    for message in messages:
        assert " is replaced: it has " in message
        assert " of 128 file descriptors left (" in message


def test_a_worker_that_leaks_faster_than_the_watchdog_looks_is_replaced(
    gunicorn: Callable[..., Any], query_spool: QuerySpool, wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(APP, SOURCES_NOFILE=128, WEB_CONCURRENCY=1)
    (leaking,) = server.workers()
    server.request("/leak_sockets?count=500")  # its own error
    wait_until(lambda: leaking not in server.workers(), "the end of the worker")
    wait_until(lambda: server.request("/log_warning").status == 200, "a replacement")
    assert [server.request("/log_warning").status for _ in range(20)] == [200] * 20
    server.stop()
    messages = [message for (message,) in query_spool(MESSAGES)]
    assert [one for one in messages if "is replaced: it " in one]


def test_a_worker_near_its_memory_limit_is_replaced_and_reported(
    gunicorn: Callable[..., Any], query_spool: QuerySpool, wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(APP, SOURCES_AS=2 << 30, WEB_CONCURRENCY=1)
    (leaking,) = server.workers()
    statuses = []
    while leaking in server.workers():
        statuses.append(server.request("/leak_memory?mib=64").status)
        assert len(statuses) < 100
        time.sleep(1.2 * POLL_INTERVAL)  # the rate of the leak: less than the margin between looks
    assert set(statuses) == {200}
    wait_until(lambda: server.request("/log_warning").status == 200, "a replacement")
    server.stop()
    ((message,),) = query_spool(MESSAGES)
    assert " of 2048 MiB of address space" in message


def test_a_worker_that_can_start_only_some_threads_serves_with_them(
    gunicorn: Callable[..., Any], query_spool: QuerySpool
) -> None:
    worker = "tests.integration.sources_app.ScarceWorker"
    server = gunicorn(APP, "-k", worker, WEB_CONCURRENCY=1, WEB_THREADS=4)
    with ThreadPoolExecutor(8) as clients:
        paths = ["/sleep?seconds=0.2"] * 24
        assert {answer.status for answer in clients.map(server.request, paths)} == {200}
    server.stop()
    ((message,),) = query_spool(MESSAGES)
    assert "can start only 2 of 4 threads: lower WEB_THREADS" in message


def test_all_threads_run_before_the_first_request(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(APP, WEB_CONCURRENCY=1, WEB_THREADS=16, ask=False)

    def threads() -> int:
        return max(
            (len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in server.workers()), default=0
        )

    wait_until(lambda: threads() >= 16 + 2, "sixteen threads, the watchdog and the main one")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        server.request("/kill")
