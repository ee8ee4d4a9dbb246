"""More visitors than threads: every request that is not answered in time is reported once."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

APP = "tests.integration.sources_app:make()"
JSON = {"Accept": "application/json"}
TIMEOUT = 6  # REQUEST_TIMEOUT, in seconds
VISITORS = 60


def visit(server: Any, path: str) -> Any:
    """Send a request with its start, as nginx does, and wait for the response."""
    headers = {**JSON, "X-Mayday-Start": f"{time.time():.3f}"}
    return server.request(path, headers=headers, timeout=90)


def test_each_504_for_60_visitors_at_once_is_reported(
    gunicorn: Callable[..., Any],
    query_spool: Callable[[str], list[tuple[Any, ...]]],
    wait_until: Callable[..., Any],
    smtp_server: Any,
) -> None:
    server = gunicorn(
        APP,
        **smtp_server.settings,
        TRUSTED_PROXIES=1,
        REQUEST_TIMEOUT=TIMEOUT,
        WEB_CONCURRENCY=2,
        WEB_THREADS=4,
        REPORT_WINDOW=2,
    )
    wait_until(lambda: len(server.workers()) == 2, "both workers")
    workers = server.workers()
    path = f"/sleep?seconds={TIMEOUT * 0.6}"
    with ThreadPoolExecutor(VISITORS) as clients:
        answers = list(clients.map(lambda _: visit(server, path), range(VISITORS)))
    assert {answer.status for answer in answers} == {200, 504}
    late = [answer for answer in answers if answer.status == 504]
    # Two rounds of eight fit into the time, the second with its end after it.
    assert len(late) >= VISITORS - 2 * 8
    for answer in late:
        assert json.loads(answer.body)["request_id"] == answer.request_id
    query = "SELECT json_extract(body, '$.message'), fingerprint, request_id FROM reports"
    wait_until(lambda: smtp_server.total() == len(query_spool(query)), "a mail that counts each")
    reports = query_spool(query)
    overloaded = {group for message, group, _ in reports if message.startswith("Overloaded: ")}
    assert len(overloaded) == 1
    in_queue = {identifier for _, group, identifier in reports if group in overloaded}
    assert in_queue == {answer.request_id for answer in late}
    # Those that were begun in time, and then took too long. Their client, nginx, has gone.
    others = [message for message, group, _ in reports if group not in overloaded]
    assert len(others) <= 2 * 8
    assert all(message.startswith(f"Request timed out after {TIMEOUT} s") for message in others)
    assert any(" more are queued" in message for message, *_ in reports)
    # Nobody waits for the others, so they were not begun; and no thread has hung.
    assert server.log.read_text().count("It sleeps") == VISITORS - len(late)
    assert server.workers() == workers


def test_a_request_whose_time_is_up_before_it_begins_is_not_begun(
    gunicorn: Callable[..., Any], query_spool: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    server = gunicorn(APP, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=TIMEOUT)
    headers = {**JSON, "X-Mayday-Start": f"{time.time() - TIMEOUT:.3f}"}
    answer = server.request("/sleep?seconds=0", headers=headers)
    assert answer.status == 504
    assert "It sleeps" not in server.log.read_text()
    ((message, identifier),) = query_spool(
        "SELECT json_extract(body, '$.message'), request_id FROM reports"
    )
    waited = f"Overloaded: 1 request waited longer than {TIMEOUT} s for a thread"
    assert message == f"{waited}, and 0 more are queued"
    assert identifier == answer.request_id


def test_an_impossible_start_is_ignored_and_logged_once(
    gunicorn: Callable[..., Any],
) -> None:
    server = gunicorn(APP, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=TIMEOUT, WEB_CONCURRENCY=1)
    now = time.time()
    for sent in (f"{now + 60:.3f}", f"{now - TIMEOUT - 61:.3f}", "-1", "x" * 3000, "1e9"):
        answer = server.request("/sleep?seconds=0", headers={"X-Mayday-Start": sent})
        assert answer.status == 200, sent
    assert server.log.read_text().count("WARNING: The header X-Mayday-Start is ") == 1


def test_a_client_without_a_trusted_proxy_cannot_set_the_start(
    gunicorn: Callable[..., Any],
) -> None:
    server = gunicorn(APP, TRUSTED_PROXIES=0, REQUEST_TIMEOUT=TIMEOUT)
    headers = {"X-Mayday-Start": f"{time.time() - TIMEOUT:.3f}"}
    assert server.request("/sleep?seconds=0", headers=headers).status == 200


def test_a_request_that_waited_is_reported_at_the_limit_that_its_visitor_sees(
    gunicorn: Callable[..., Any], query_spool: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    server = gunicorn(APP, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=10, WEB_CONCURRENCY=1)
    headers = {"X-Mayday-Start": f"{time.time() - 6:.3f}"}
    try:
        answer = server.request("/sleep?seconds=5", headers=headers)
    except http.client.HTTPException:
        raise AssertionError("its worker was replaced, though no thread hangs") from None
    assert answer.status == 200
    ((message,),) = query_spool("SELECT json_extract(body, '$.message') FROM reports")
    assert re.match(r"Request timed out after 10 s, [6-9]\.", message)
