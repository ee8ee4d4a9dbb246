"""What all tests share: settings that touch nothing outside a folder, and apps made of them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.database import db
from flask_mayday.context import request_id
from flask_mayday.report.report import Report
from flask_mayday.reporting import registry
from flask_mayday.spool.incoming import LINES, TAKEN
from tests.support.compose import PROJECT, Stack, end

SECRET_KEY = "0123456789abcdef0123456789abcdef01234567"

# Every variable that the app and the extension read, by their documented names.
VARIABLES = (
    "SECRET_KEY_FALLBACKS",
    "POSTGRES_USER",
    "SECRET_KEY",
    "POSTGRES_PASSWORD",
    "DATABASE_URL",
    "MAIL_SERVER",
    "MAIL_PORT",
    "MAIL_USE_TLS",
    "MAIL_USE_SSL",
    "MAIL_USERNAME",
    "MAIL_PASSWORD",
    "MAIL_FROM",
    "MAIL_DEFAULT_SENDER",
    "MAIL_TIMEOUT",
    "ADMINS",
    "LOG_DIR",
    "LOG_FILE",
    "LOG_MAX_BYTES",
    "LOG_BACKUP_COUNT",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "LOG_SLOW_MS",
    "SPOOL_DIR",
    "SPOOL_MAX_BYTES",
    "REPORT_WINDOW",
    "REPORT_MAILS_PER_HOUR",
    "REPORT_KEEP_DAYS",
    "REPORT_SUMMARY",
    "REPORT_WEBHOOK_URL",
    "REPORT_WEBHOOK_FORMAT",
    "WEBHOOK_ALLOW",
    "REQUEST_TIMEOUT",
    "FLASK_DEBUG",
    "DRILL",
    "TRUSTED_PROXIES",
    "WEB_CONCURRENCY",
    "WEB_THREADS",
    "HTTP_BIND",
    "MAILHOG_PORT",
    "APP_NAME",
    "ENVIRONMENT",
    "RELEASE",
    "NODE_NAME",
    "COURIERS_AGREE",
    "AGREEMENT_URL",
    "AGREEMENT_USER",
    "AGREEMENT_PASSWORD",
    "OWN_CODE",
    "LOG_HINT",
    "SECRET_NAMES",
    "MAIL_CA_FILE",
    "MAIL_HELO_NAME",
    "WATCH_URL",
    "WATCH_HTTPS_PORT",
    "WATCH_READY_URL",
    "WATCH_EDGE_LOG",
    "WATCH_METRICS",
    "METRICS",
    "STATUS_PORT",
    "HEARTBEAT_URL",
    "FLASK_APP",
    "LOG_HINT",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the shell that runs the tests out of them."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        for variable in (f"{name}_FILE", f"MAYDAY_{name}", f"MAYDAY_{name}_FILE"):
            monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    """Take the app's handlers off after each test, and forget its last request."""
    yield
    for pipeline in registry.pipelines():
        registry.unregister(pipeline)
        pipeline.reports.close()
        pipeline.log_file.close()
    logging.getLogger().setLevel(logging.WARNING)
    request_id.forget()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    """Return the least that the app needs, all of it inside the test's folder."""
    return {
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{tmp_path}/microblog.db",
        "LOG_DIR": tmp_path / "logs",
        "SPOOL_DIR": tmp_path / "spool",
    }


@pytest.fixture
def mail_settings() -> dict[str, object]:
    """Return settings for a mail server that is not there: nothing listens on the port."""
    return {
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": 1,
        "MAIL_FROM": "no-reply@microblog.example",
        "ADMINS": "admin@microblog.example",
    }


@pytest.fixture
def make_app(settings: dict[str, object]) -> Iterator[Callable[..., Flask]]:
    """Return a factory of apps: ``make_app(DRILL=True)``."""
    made: list[Flask] = []

    def make(**overrides: object) -> Flask:
        made.append(create_app({**settings, **overrides}))
        return made[-1]

    yield make
    for app in made:
        app.extensions["mayday"].courier.stop(5)
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def read_reports(tmp_path: Path) -> Callable[[], list[Report]]:
    """Return a function that reads every report in the spool, oldest first."""

    def read() -> list[Report]:
        # In this order: the courier moves reports from the files to the database.
        bodies = _waiting(tmp_path / "spool" / "incoming")
        bodies += _recorded(tmp_path / "spool" / "reports.db")
        reports = {report.uuid: report for report in map(Report.from_json, bodies)}
        return sorted(reports.values(), key=lambda report: report.time)

    return read


def _waiting(folder: Path) -> list[str]:
    lines = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix not in ("", LINES, TAKEN):
            continue
        for name in (path, path.with_suffix(TAKEN)):  # it may be taken just now
            with contextlib.suppress(FileNotFoundError):
                lines += name.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["body"] for line in lines]


def _recorded(path: Path) -> list[str]:
    if not path.exists():
        return []
    connection = sqlite3.connect(path, timeout=10)
    try:
        there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'reports'").fetchone()
        rows = connection.execute("SELECT body FROM reports").fetchall() if there else []
    finally:
        connection.close()
    return [body for (body,) in rows]


@pytest.fixture
def read_log(tmp_path: Path) -> Callable[[], str]:
    """Return a function that reads the log file as it is now."""

    def read() -> str:
        path = tmp_path / "logs" / "microblog.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    return read


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a function that finds a TCP port of 127.0.0.1 on which nothing listens."""

    def find() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return a function that waits for a condition and returns what it returned, or fails."""

    def wait(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"After {seconds:g} s there was still not: {what} (last: {found!r})")
            time.sleep(0.02)

    return wait


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], int]:
    """Return a function that runs another in a forked process and returns its exit status."""

    def run(work: Callable[[], object]) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return run


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    """The containers, for the stack's and the browser's tests; built and started once."""
    stack = Stack(PROJECT)
    stack.remove()
    stack.compose("build")
    stack.up()
    yield stack
    end(stack)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have measured, one line a test."""
    measured = [
        (report.nodeid.rpartition("[")[2].rstrip("]"), report.user_properties)
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
    for name, properties in measured:
        values = ", ".join(f"{key} {value}" for key, value in properties)
        terminalreporter.write_line(f"{name}: {values}")
