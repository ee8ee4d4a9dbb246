"""Starting and stopping the real server: what it refuses, and what it logs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHORT = "only-31-characters-are-in-this-0"[:31]


def test_a_server_without_a_secret_key_is_refused_with_the_fix(
    refused_gunicorn: Callable[..., tuple[int, str]],
) -> None:
    status, output = refused_gunicorn(SECRET_KEY="")
    assert status != 0
    assert "SECRET_KEY is not set" in output
    assert "secrets.token_hex(32)" in output
    assert "Traceback" not in output


def test_a_server_with_a_short_secret_key_is_refused_without_showing_it(
    refused_gunicorn: Callable[..., tuple[int, str]],
) -> None:
    status, output = refused_gunicorn(SECRET_KEY=SHORT)
    assert status != 0
    assert "SECRET_KEY has 31 characters" in output
    assert SHORT not in output
    assert "Traceback" not in output


def test_the_debugger_is_refused_with_the_fix(
    refused_gunicorn: Callable[..., tuple[int, str]],
) -> None:
    status, output = refused_gunicorn(FLASK_DEBUG="1")
    assert status != 0
    assert "FLASK_DEBUG=0" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("stream", ["the log file", "stdout"])
def test_start_and_stop_are_logged_once_for_any_number_of_workers(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any], stream: str
) -> None:
    server = gunicorn(WEB_CONCURRENCY=4)
    wait_until(lambda: len(server.workers()) == 4, "four workers")
    assert server.stop() == 0
    text = server.log.read_text() if stream == "the log file" else server.output
    assert len(re.findall(r" INFO: Microblog startup \[", text)) == 1
    assert len(re.findall(r" INFO: Microblog shutdown \[", text)) == 1


def test_a_hook_that_does_not_call_ours_is_named_and_the_server_runs(
    gunicorn: Callable[..., Any], tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from flask_mayday.gunicorn import *\n\n\ndef pre_fork(server, worker):\n    pass\n"
    )
    server = gunicorn("-c", str(own))
    assert "gunicorn's hook pre_fork is not connected" in server.log.read_text()


def test_the_log_says_what_another_worker_class_lacks(
    gunicorn: Callable[..., Any],
) -> None:
    server = gunicorn("-k", "gthread")
    assert "worker_class is gthread, so REQUEST_TIMEOUT and" in server.log.read_text()


def test_the_access_log_names_the_path_without_its_query_and_no_health_check(
    gunicorn: Callable[..., Any],
) -> None:
    server = gunicorn()
    answer = server.request("/explore?token=not-for-the-log")
    assert server.request("/health/ready").status in (200, 503)
    assert server.stop() == 0
    lines = [line for line in server.log.read_text().splitlines() if "GET " in line]
    assert [line for line in lines if '"GET /explore"' in line and answer.request_id in line]
    for text in (server.log.read_text(), server.output):
        assert "not-for-the-log" not in text
        assert "/health/" not in text


def test_a_request_cannot_forge_a_line_of_the_log(gunicorn: Callable[..., Any]) -> None:
    server = gunicorn()
    server.request("/x%0a2099-01-01%2000:00:00,000%20INFO:%20forged%1b[2J%e2%80%a8forged")
    assert server.stop() == 0
    for text in (server.log.read_text(), server.output):
        assert "forged" in text
        assert not [line for line in text.splitlines() if line.startswith(("2099", "forged"))]
        assert "\x1b" not in text


def test_a_client_cannot_choose_its_request_id(gunicorn: Callable[..., Any]) -> None:
    server = gunicorn(TRUSTED_PROXIES=0)
    chosen = "a" * 32
    assert server.request("/", headers={"X-Request-ID": chosen}).request_id != chosen


def test_more_threads_than_the_container_may_have_are_refused_with_the_fix(
    refused_gunicorn: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """The limit is that of a control group: a file here, since only root can make a group."""
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "pids.max").write_text("256\n")
    (tmp_path / "pids.max").write_text("256\n")
    status, output = refused_gunicorn(
        "-c",
        "python:tests.integration.small_container",
        WEB_CONCURRENCY="2",
        WEB_THREADS="128",
        CGROUP=str(tmp_path),
    )
    assert status != 0
    assert "WEB_CONCURRENCY=2 x WEB_THREADS=128 needs 282 threads" in output
    assert "Set WEB_THREADS=115" in output
    assert "Traceback" not in output
