"""What all tests share: settings that touch nothing outside a folder, and apps made of them."""

from __future__ import annotations

import logging
import os
import re
import signal
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
from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, ROOT, Stack, end
from tests.support.compose import free_port as find_free_port
from tests.support.reports import query
from tests.support.writers import fork

SECRET_KEY = "0123456789abcdef0123456789abcdef01234567"

# Every variable that the app, the extension, gunicorn's configuration or watch reads. A test
# compares the page with the code.
VARIABLES = (
    "FLASK_APP",
    *re.findall(
        r"^\| `([A-Z_]+)` \|.*\| (?!stack \|$)[a-z, ]+ \|$",
        (ROOT / "docs/settings.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    ),
)


# A shell that runs the tests in the background has these ignored, and so would all children.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)


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
        rows = query(tmp_path / "spool", "SELECT body FROM reports ORDER BY time")
        return [Report.from_json(body) for (body,) in rows]

    return read


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
    return find_free_port


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return a function that waits for a condition and returns what it returned, or fails."""

    def wait(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
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
        return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])

    return run


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The containers, for the stack's and the browser's tests; each process starts its own once.

    They are started from a clone, because only one `make up` at a time may run in a checkout.
    """
    stack = Stack(PROJECT, clone_checkout(tmp_path_factory.mktemp("stack") / "clone"))
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
