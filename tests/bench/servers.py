"""Processes to measure: the apps under gunicorn, and the mail servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def app(name: str, mail_port: int, folder: Path) -> Iterator[int]:
    """Run one of the apps; yield its port."""
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
    with (folder / "output").open("wb") as output, process(command, environment, output):
        try:
            _wait(port, "/login")
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {(folder / 'output').read_text()[-2000:]}") from error
        yield port


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
def process(command: list[str], environment: dict[str, str], output: Any) -> Iterator[None]:
    """Run a program for as long as the block lasts."""
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        yield
    finally:
        # Sync workers that wait for a mail server do not end in time, nor does the master.
        workers = _children(running.pid)
        running.kill()
        running.wait()
        for worker in workers:
            subprocess.run(["kill", "-KILL", worker], check=False, stderr=subprocess.DEVNULL)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


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
