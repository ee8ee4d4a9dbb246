"""More visitors than threads: every request that is not answered in time is reported once."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

APP = "tests.integration.sources_app:make()"
JSON = {"Accept": "application/json"}
TIMEOUT = 3  # REQUEST_TIMEOUT, in seconds
VISITORS = 60


def visit(server: Any, path: str) -> Any:
    """Send a request as nginx does: with its start, and for a second longer than the app's limit.

    Returns the response, or 504 where nginx would answer with its own page.
    """
    headers = {**JSON, "X-Mayday-Start": f"{time.time():.3f}"}
    try:
        return server.request(path, headers=headers, timeout=TIMEOUT + 1)
    except TimeoutError:
        return 504


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
    path = f"/sleep?seconds={TIMEOUT * 0.7}"
    with ThreadPoolExecutor(VISITORS) as clients:
        answers = list(clients.map(lambda _: visit(server, path), range(VISITORS)))
    wait_until(lambda: visit(server, "/log_warning") != 504, "a free thread")
    ours = [answer for answer in answers if answer != 504]
    late = [answer for answer in ours if answer.status == 504]
    assert Counter(answer.status for answer in ours) == {200: 8, 504: len(late)}
    # Those that were being served when their time was over cannot be answered.
    assert len(late) >= VISITORS - 16 - 8
    assert max(answer.seconds for answer in late) < TIMEOUT + 1
    for answer in late:
        assert json.loads(answer.body)["request_id"] == answer.request_id
    wait_until(lambda: smtp_server.total() == VISITORS - 8, "a mail that counts each")
    reports = query_spool("SELECT json_extract(body, '$.message'), fingerprint FROM reports")
    assert len(reports) == VISITORS - 8
    overloaded = {group for message, group in reports if message.startswith("Overloaded: ")}
    others = [message for message, group in reports if group not in overloaded]
    assert len(overloaded) == 1
    assert len(others) <= 8
    assert all(" s of them in the queue" in message for message in others)
    assert any(" more are queued" in message for message, _ in reports)
    # Nobody waits for the others, so they were not begun; and no thread has hung.
    assert server.log.read_text().count("It sleeps") == 8 + len(others)
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
    server = gunicorn(APP, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=TIMEOUT, WEB_CONCURRENCY=1)
    headers = {"X-Mayday-Start": f"{time.time() - TIMEOUT + 1:.3f}"}
    try:
        answer = server.request("/sleep?seconds=2", headers=headers)
    except http.client.HTTPException:
        raise AssertionError("its worker was replaced, though no thread hangs") from None
    assert answer.status == 200
    ((message,),) = query_spool("SELECT json_extract(body, '$.message') FROM reports")
    assert message.startswith(f"Request timed out after {TIMEOUT} s, 2.")
