"""``python -m flask_mayday.run``: a command's output, its exit status and its report."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.report.report import Report

ReadReports = Callable[[], list[Report]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "MAYDAY_LOG_DIR": str(tmp_path / "logs"),
        "MAYDAY_LOG_FILE": "microblog.log",
        "MAYDAY_SPOOL_DIR": str(tmp_path / "spool"),
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask_mayday.run", "--", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_command_that_succeeds_passes_its_output_on_and_reports_nothing(
    run: Callable[..., Any], read_reports: ReadReports
) -> None:
    done = run("sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert read_reports() == []


def test_a_failure_is_reported_with_the_last_fifty_lines(
    run: Callable[..., Any], read_reports: ReadReports, read_log: Callable[[], str]
) -> None:
    done = run("sh", "-c", "seq 100; exit 3")
    assert done.returncode == 3
    [report] = read_reports()
    assert report.level == "CRITICAL"
    assert report.message == "seq 100; exit 3 failed with exit status 3"
    lines = report.traceback.split()
    assert "51" in lines
    assert "50" not in lines
    # The output was passed on as it came, and is not printed again.
    assert done.stdout.split() == [str(number) for number in range(1, 101)]
    assert done.stderr == "seq 100; exit 3 failed with exit status 3\n"
    assert "CommandFailed: seq 100; exit 3 failed with exit status 3" in read_log()


def test_a_prompt_without_a_newline_is_passed_on_at_once(environment: dict[str, str]) -> None:
    script = "printf 'Continue? '; read -r answer; echo \"$answer\""
    with subprocess.Popen(
        [sys.executable, "-m", "flask_mayday.run", "--", "sh", "-c", script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        arrived, _, _ = select.select([process.stdout], [], [], 60)
        output, _ = process.communicate(b"yes\n", timeout=60)
    assert arrived
    assert output == b"Continue? yes\n"


def test_a_long_line_and_one_without_an_end_are_in_the_report(
    run: Callable[..., Any], read_reports: ReadReports
) -> None:
    run("sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; echo; printf 'the end'; exit 1")
    [report] = read_reports()
    lines = report.traceback.split()
    assert lines[-3:] == ["x" * 1000, "the", "end"]


def test_a_password_in_the_output_is_not_in_the_report(
    run: Callable[..., Any], read_reports: ReadReports
) -> None:
    run("sh", "-c", "echo postgresql://app:hunter2secret@db/x; exit 1")
    [report] = read_reports()
    assert "hunter2secret" not in report.to_json()


def test_a_command_that_does_not_exist_is_reported(
    run: Callable[..., Any], read_reports: ReadReports
) -> None:
    assert run("no-such-command", "--now").returncode == 127
    [report] = read_reports()
    assert report.message.startswith("no-such-command --now could not be started: No such file")


def test_a_killed_command_is_reported_with_its_signal(
    run: Callable[..., Any], read_reports: ReadReports
) -> None:
    assert run("sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    [report] = read_reports()
    assert report.message.endswith("was killed by SIGKILL")


def test_a_signal_reaches_the_command(
    environment: dict[str, str], read_reports: ReadReports
) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [sys.executable, "-m", "flask_mayday.run", "--", "sh", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.read() == "bye\n"
    assert process.wait(60) == 0
    assert read_reports() == []


def test_a_spool_that_cannot_be_used_is_named_without_a_traceback(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "spool" / "courier.lock").mkdir(parents=True)  # root could open any file
    done = run("sh", "-c", "exit 3")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert f"Not delivered from {tmp_path / 'spool'} before the exit: " in done.stderr


def test_without_a_command_the_usage_is_printed(run: Callable[..., Any]) -> None:
    done = run()
    assert done.returncode == 2
    assert "python -m flask_mayday.run -- COMMAND" in done.stderr
