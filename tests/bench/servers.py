"""Processes to measure: the apps under gunicorn, and the mail servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.cpu import children

ROOT = Path(__file__).resolve().parent.parent.parent
GUNICORN = [sys.executable, "-m", "gunicorn"]
OURS = [*GUNICORN, "-c", "python:flask_mayday.gunicorn"]
# Chapter 17's command, and its four processes.
TUTORIAL = [*GUNICORN, "-w", "4", "--access-logfile", "-", "tests.bench.tutorial_app:app"]
APPS = {
    "ours": OURS,
    "ours without request log": [*OURS, "tests.bench.without:without_request_log()"],
    "ours without reports": [*OURS, "tests.bench.without:without_reports()"],
    "tutorial": TUTORIAL,
    "tutorial without mail": TUTORIAL,
}
START = 60.0  # seconds, on a busy machine


class RunningApp(NamedTuple):
    """An app's port, and the process that started its workers."""

    port: int
    pid: int


@contextmanager
def app(name: str, mail_port: int, folder: Path) -> Iterator[RunningApp]:
    """Run one of the apps."""
    port = free_port()
    (folder / "logs").mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "FLASK_APP": "app:create_app",
        "SECRET_KEY": "0123456789abcdef0123456789abcdef01234567",
        "DATABASE_URL": f"sqlite:///{folder}/microblog.db",
        "LOG_DIR": str(folder / "logs"),
        "SPOOL_DIR": str(folder / "spool"),
        "DRILL": "1",
    }
    if name != "tutorial without mail":
        environment |= {
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": str(mail_port),
            "MAIL_FROM": "no-reply@microblog.example",
            "ADMINS": "admin@microblog.example",
        }
    command = [*APPS[name], "-b", f"127.0.0.1:{port}"]
    with (folder / "output").open("wb") as output, process(command, environment, output) as pid:
        try:
            _wait(port, "/login")
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {(folder / 'output').read_text()[-2000:]}") from error
        yield RunningApp(port, pid)


@contextmanager
def mail_server(behaviour: str) -> Iterator[int]:
    """Run a mail server; yield its port; with ``refuses`` nothing listens there."""
    port = free_port()
    if behaviour == "refuses":
        yield port
        return
    command = [sys.executable, "-m", "tests.bench.mail_server", behaviour, str(port)]
    with process(command, dict(os.environ), subprocess.DEVNULL):
        _wait(port, None)
        yield port


@contextmanager
def process(command: list[str], environment: dict[str, str], output: Any) -> Iterator[int]:
    """Run a program for as long as the block lasts; yield its process id."""
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        yield running.pid
    finally:
        # Sync workers that wait for a mail server do not end in time, nor does the master.
        workers = children(running.pid)
        running.kill()
        running.wait()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(port: int, path: str | None) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1).close()
            else:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Nothing answers on port {port}: {error}") from error
            time.sleep(0.05)
        else:
            return
