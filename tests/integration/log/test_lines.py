"""The log has a line per request, warnings for slow requests, and a line at the start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.visitor import Visitor

SECRET = "0123456789abcdef0123456789abcdef01234567"


def lines_of(server: Any, text: str) -> list[str]:
    return [line for line in server.log.read_text().splitlines() if text in line]


def test_each_request_has_one_line_with_its_id(gunicorn: Callable[..., Any]) -> None:
    server = gunicorn(LOG_SLOW_MS=60_000)
    answer = server.request("/login?next=/not-for-the-log")
    assert server.stop() == 0
    (line,) = lines_of(server, answer.request_id)
    assert re.fullmatch(
        r'.* INFO: 127\.0\.0\.1 "GET /login" 200 \d+ ms \d+ bytes user -'
        rf" \[in .*/gunicorn/workers/gthread\.py:\d+\] \[request {answer.request_id}\]",
        line,
    )
    assert f" {len(answer.body)} bytes " in line
    assert "not-for-the-log" not in server.log.read_text()


def test_the_line_names_the_logged_in_user(gunicorn: Callable[..., Any], database_url: str) -> None:
    server = gunicorn(DATABASE_URL=database_url)
    visitor = Visitor(f"http://127.0.0.1:{server.port}")
    assert visitor.register("susan").status == 200
    assert visitor.log_in("susan").status == 200
    visitor.open("/explore")
    assert server.stop() == 0
    assert " user 1 " in lines_of(server, '"GET /explore"')[-1]
    assert " user - " in lines_of(server, '"GET /register"')[0]
    assert lines_of(server, "User 1 has registered")
    assert lines_of(server, "User 1 has logged in")


def test_slow_requests_and_slow_statements_are_warnings(
    gunicorn: Callable[..., Any], database_url: str
) -> None:
    server = gunicorn(DATABASE_URL=database_url, LOG_SLOW_MS=1)
    answer = server.request("/login")
    Visitor(f"http://127.0.0.1:{server.port}").register("susan")
    assert server.stop() == 0
    (line,) = lines_of(server, answer.request_id)
    assert ' WARNING: 127.0.0.1 "GET /login"' in line
    slow = lines_of(server, " WARNING: Slow SQL, ")
    assert all(re.search(r"\[request [0-9a-f]{32}\]$", line) for line in slow)
    assert not [line for line in slow if "susan" in line]


def test_the_start_logs_version_workers_and_settings_once_and_no_secret(
    gunicorn: Callable[..., Any], tmp_path: Path
) -> None:
    server = gunicorn(
        WEB_CONCURRENCY=3, DATABASE_URL=f"sqlite:///{tmp_path}/x.db?password=hidden-in-the-query"
    )
    assert server.stop() == 0
    (line,) = lines_of(server, " INFO: Release ")
    assert "Release unknown, workers: 3, threads in each: 4, settings: " in line
    assert f" LOG_DIR={tmp_path}/logs " in line
    for secret in (SECRET, "hidden-in-the-query"):
        assert secret not in server.log.read_text() + server.output
    assert len(lines_of(server, " INFO: Microblog startup ")) == 1


def test_json_lines_hold_the_same(gunicorn: Callable[..., Any]) -> None:
    server = gunicorn(LOG_FORMAT="json")
    answer = server.request("/login")
    failed = server.fail("boom")
    assert server.stop() == 0
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    (entry,) = [entry for entry in entries if entry["request_id"] == answer.request_id]
    assert (entry["level"], entry["logger"]) == ("INFO", "gunicorn.access")
    trace = next(entry for entry in entries if entry["request_id"] == failed.request_id)
    assert trace["exception"].startswith("Traceback (most recent call last):")
