"""A log that cannot be written causes a warning on stderr; no request fails or waits."""

from __future__ import annotations

import fcntl
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.log.rotation import LOCK_TIMEOUT, lock_path

WARNING = "cannot be written"


@pytest.mark.parametrize("kind", [os.mkfifo, lambda path: os.symlink("/dev/full", path)])
def test_a_log_that_is_not_a_regular_file_causes_a_warning_and_the_log_continues_later(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any], kind: Callable[[Path], None]
) -> None:
    server = gunicorn(WEB_CONCURRENCY=1)
    server.log.unlink()
    kind(server.log)
    answers = [server.request("/login") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    warning, *_ = [line for line in server.output.splitlines() if WARNING in line]
    assert "not a regular file" in warning

    server.log.unlink()
    answer = server.request("/login")
    wait_until(
        lambda: server.log.exists() and answer.request_id in server.log.read_text(),
        "the line of a request after the log is a file again",
    )


def test_a_lock_held_by_another_process_delays_only_one_request(
    gunicorn: Callable[..., Any],
) -> None:
    server = gunicorn(WEB_CONCURRENCY=1)
    with open(lock_path(str(server.log))) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answers = [server.request("/login") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert statistics.median(answer.seconds for answer in answers) < LOCK_TIMEOUT
    assert "another process holds its lock" in server.output


def test_a_folder_that_cannot_be_created_causes_a_warning_and_the_app_runs(
    gunicorn: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server = gunicorn(LOG_DIR=tmp_path / "file" / "logs")
    assert server.request("/login").status == 200
    assert f"The log {tmp_path}/file/logs/microblog.log {WARNING} (Not a directory)" in (
        server.output
    )
    assert " INFO: Microblog startup " in server.output


def test_a_missing_folder_is_created(gunicorn: Callable[..., Any], tmp_path: Path) -> None:
    server = gunicorn(LOG_DIR=tmp_path / "a" / "b")
    assert " INFO: Microblog startup " in (tmp_path / "a" / "b" / "microblog.log").read_text()
    assert WARNING not in server.output


def test_sigusr1_changes_nothing(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    """gunicorn reopens its log files on SIGUSR1; ours checks the file at every line anyway."""
    server = gunicorn(WEB_CONCURRENCY=2)
    workers = wait_until(lambda: len(server.workers()) == 2 and server.workers(), "both workers")
    server.log.rename(server.log.with_suffix(".moved"))
    server.process.send_signal(signal.SIGUSR1)
    answer = server.request("/login")
    wait_until(
        lambda: server.log.exists() and answer.request_id in server.log.read_text(),
        "a line in the new file",
    )
    assert server.request("/login").status == 200
    assert server.workers() == workers
    assert os.path.exists(server.log.with_suffix(".moved"))
