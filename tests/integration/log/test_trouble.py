"""A log that cannot be written costs a line on stderr, and no visitor anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMPLAINT = "cannot be written"


def test_a_full_disk_costs_one_line_on_stderr_and_the_log_goes_on_later(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(WEB_CONCURRENCY=1)
    server.log.unlink()
    server.log.symlink_to("/dev/full")
    answers = [server.request("/login") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    complaints = [line for line in server.output.splitlines() if COMPLAINT in line]
    assert len(complaints) == 1
    assert "No space left on device" in complaints[0]

    server.log.unlink()
    answer = server.request("/login")
    wait_until(
        lambda: server.log.exists() and answer.request_id in server.log.read_text(),
        "the line of a request after the disk has space again",
    )


def test_a_folder_that_cannot_be_made_is_told_and_the_app_runs(
    gunicorn: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server = gunicorn(LOG_DIR=tmp_path / "file" / "logs")
    assert server.request("/login").status == 200
    assert f"The log {tmp_path}/file/logs/microblog.log {COMPLAINT} (Not a directory)" in (
        server.output
    )
    assert " INFO: Microblog startup " in server.output


def test_a_folder_that_is_missing_is_made(gunicorn: Callable[..., Any], tmp_path: Path) -> None:
    server = gunicorn(LOG_DIR=tmp_path / "a" / "b")
    assert " INFO: Microblog startup " in (tmp_path / "a" / "b" / "microblog.log").read_text()
    assert COMPLAINT not in server.output


def test_sigusr1_harms_nothing(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    """gunicorn then opens its log files anew, as for logrotate: ours looks at each line anyway."""
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
