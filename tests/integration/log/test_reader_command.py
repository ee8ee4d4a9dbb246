"""``python -m flask_mayday.log.reader`` as operators use it: in a pipe and on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

REQUEST = "a" * 32


@pytest.fixture
def read(path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Return a function that starts the command with its output in pipes."""
    path.parent.mkdir()

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "flask_mayday.log.reader", *arguments],
            cwd=ROOT,
            env={"LOG_DIR": str(path.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.mark.parametrize("arguments", [[], ["--all"], ["--request", REQUEST]])
def test_a_closed_pipe_ends_it_quietly(
    path: Path, read: Callable[..., subprocess.Popen[bytes]], arguments: list[str]
) -> None:
    path.write_text(f"a line [request {REQUEST}]\n" * 10_000)
    with read(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"a line ")
        process.stdout.close()
        with path.open("a") as log:  # a follower notices at the next line
            log.write("another line\n")
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_ctrl_c_ends_it_quietly(path: Path, read: Callable[..., subprocess.Popen[bytes]]) -> None:
    path.write_text("first\n")
    with read() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_text_from_outside_is_escaped(
    path: Path, read: Callable[..., subprocess.Popen[bytes]]
) -> None:
    path.write_bytes(b"a \x1b[2J\x9b\r line [request %s]\n  \x1b]0;title\x07\n" % REQUEST.encode())
    output, errors = read("--request", REQUEST, "--colour").communicate(timeout=60)
    assert errors == b""
    assert output.decode().splitlines() == [
        rf"a \x1b[2J�\r line [request {REQUEST}]",
        r"  \x1b]0;title\x07",
    ]


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
def test_a_file_that_is_not_regular_is_named_and_blocks_nobody(
    path: Path, read: Callable[..., subprocess.Popen[bytes]], kind: Callable[[Path], None]
) -> None:
    path.write_text("newest\n")
    kind(path.with_name("microblog.log.1"))
    process = read("--all")
    assert process.communicate(timeout=60) == (
        b"",
        f"Cannot read the log {path}.1: not a regular file.\n".encode(),
    )
    assert process.returncode == 2


@pytest.mark.parametrize("request_id", [REQUEST, ""])
def test_without_a_record_of_the_request_the_exit_status_is_1(
    path: Path, read: Callable[..., subprocess.Popen[bytes]], request_id: str
) -> None:
    path.write_text("a line [request -]\n")
    process = read("--request", request_id)
    assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 1
