"""Every source of an error makes one report, spooled within two seconds and mailed."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.report.report import Report

APP = "tests.integration.sources_app:make()"
QuerySpool = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def the_report(
    query_spool: QuerySpool,
    smtp_server: Any,
    wait_until: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> Callable[..., Report]:
    """Return a function that waits for the only report and its mail, and returns the report."""

    def wait(since: float | None = None, reports: str = "SELECT body FROM reports") -> Report:
        wait_until(lambda: query_spool(reports), "a report in the spool")
        if since is not None:
            record_property("in the spool after (s)", round(time.monotonic() - since, 2))
        wait_until(lambda: smtp_server.mails, "the mail")
        ((body,),) = query_spool(reports)
        report = Report.from_json(body)
        record_property("report", f"{report.type}: {report.message}"[:70])
        record_property("request id", report.request_id is not None)
        assert smtp_server.mails[0]["Subject"].startswith("[Microblog]")
        return report

    return wait


def header(identifier: str) -> dict[str, str]:
    return {"X-Request-ID": identifier}


IDENTIFIER = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("view", "status", "message"),
    [
        ("view_raises", 500, "a view raises"),
        ("slow_text", 500, "<no message: __str__ takes longer than"),
        ("abort_500", 500, "Answered 500"),
        ("abort_503", 503, "Answered 503"),
        ("returned_502", 502, "Answered 502"),
        ("log_error", 200, "an error is logged"),
        ("log_critical", 200, "a critical error is logged"),
        ("log_without_propagation", 200, "an error is logged where no handler of ours is"),
        ("log_below_one_without_propagation", 200, "logged with its traceback"),
        ("thread_raises", 200, "a view raises"),
        ("future_never_retrieved", 200, "a view raises"),
        ("future_whose_error_is_raised", 500, "a view raises"),
        ("pool_maps", 500, "a view raises"),
        ("destructor_raises", 200, "a view raises"),
        ("task_never_retrieved", 200, "a view raises"),
        ("error_handler_raises", 500, "'second'"),
        ("template_raises", 500, "division by zero"),
        ("page_template_raises", 404, "division by zero"),
        ("body_raises", 200, "a view raises"),
        ("body_raises_late", 200, "the body of another server"),
        ("body_is_refused_late", 200, "('the body of another server',)"),
        ("close_raises", 200, "a view raises"),
        ("close_of_a_pipe_raises", 200, "[Errno 32] the pipe of another program"),
        ("system_exit", 500, "1"),
        ("out_of_memory", 500, ""),
    ],
)
def test_every_failure_in_a_request_is_one_report_with_its_id(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    query_spool: QuerySpool,
    view: str,
    status: int,
    message: str,
) -> None:
    server = gunicorn(APP, **smtp_server.settings, TRUSTED_PROXIES=1)
    started = time.monotonic()
    if view.startswith("body_"):
        with pytest.raises(http.client.IncompleteRead) as cut:
            server.request(f"/{view}", headers=header(IDENTIFIER))
        assert cut.value.partial == b"the first part"
    else:
        assert server.request(f"/{view}", headers=header(IDENTIFIER)).status == status
    report = the_report(started)
    assert report.message.startswith(message)
    assert report.request_id == IDENTIFIER
    assert smtp_server.mails[0]["X-Request-ID"] == IDENTIFIER
    server.stop()
    assert len(query_spool("SELECT body FROM reports")) == 1


@pytest.mark.parametrize(
    "view", ["log_warning", "future_whose_error_is_handled", "future_of_a_loop"]
)
def test_a_warning_or_a_handled_exception_is_not_reported(
    gunicorn: Callable[..., Any], smtp_server: Any, query_spool: QuerySpool, view: str
) -> None:
    server = gunicorn(APP, **smtp_server.settings)
    assert server.request(f"/{view}").status == 200
    server.stop()
    assert query_spool("SELECT body FROM reports") == []


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("kill", "was killed by SIGKILL: not for lack of memory, according to the kernel"),
        ("segfault", "was killed by SIGSEGV"),
        ("abort_signal", "was killed by SIGABRT"),
        ("terminated", "was killed by SIGUSR2"),
        ("exit_0", "exited with status 0"),
        ("exit_3", "exited with status 3"),
        ("exit_4", "exited with status 4"),
        ("exit_7", "exited with status 7"),
    ],
)
def test_a_worker_death_is_one_report_with_the_interrupted_request(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    query_spool: QuerySpool,
    view: str,
    message: str,
) -> None:
    # One thread, so that no earlier request is still in the table when the worker dies.
    server = gunicorn(APP, **smtp_server.settings, TRUSTED_PROXIES=1, WEB_THREADS=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        server.request(f"/{view}", headers=header(IDENTIFIER))
    report = the_report(time.monotonic())
    assert message in report.message
    assert report.request_id == IDENTIFIER
    assert f"GET /{view} [request {IDENTIFIER}]" in report.traceback
    if view in ("segfault", "abort_signal"):
        assert f"in {view}" in report.traceback
    assert server.request("/log_warning").status == 200
    assert server.stop() == 0
    assert len(query_spool("SELECT body FROM reports")) == 1


def test_a_hung_request_does_not_affect_other_requests_of_its_worker(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    query_spool: QuerySpool,
) -> None:
    """Other clients send requests without a pause while the only worker is replaced."""
    server = gunicorn(
        APP, **smtp_server.settings, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=4, WEB_CONCURRENCY=1
    )
    (hanging,) = server.workers()
    statuses: list[int] = []

    def send_requests() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and hanging in server.workers():
            statuses.append(server.request("/slow", timeout=60).status)

    with ThreadPoolExecutor(3) as clients:
        others = [clients.submit(send_requests) for _ in range(3)]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request("/hang", headers=header(IDENTIFIER))
        for other in others:
            other.result()
    assert the_report(time.monotonic()).request_id == IDENTIFIER
    assert hanging not in server.workers()
    assert set(statuses) == {200}
    server.stop()
    assert len(query_spool("SELECT body FROM reports")) == 1


def test_a_crash_is_reported_under_the_crashing_request_and_can_be_looked_up_by_an_interrupted_one(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    wait_until: Callable[..., Any],
    flask: Callable[..., Any],
) -> None:
    server = gunicorn(APP, **smtp_server.settings, TRUSTED_PROXIES=1, WEB_CONCURRENCY=1)
    other = IDENTIFIER[::-1]

    def ask(view: str, identifier: str) -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request(f"/{view}", headers=header(identifier))

    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(ask, "hang", other)
        wait_until(lambda: "It hangs" in server.log.read_text(), "the request that is interrupted")
        ask("segfault", IDENTIFIER)
        waiting.result()
    report = the_report()
    assert report.request_id == IDENTIFIER
    shown = flask("reports", "show", other, **smtp_server.settings)
    assert IDENTIFIER in shown.stdout
    lines = [
        line for line in server.log.read_text().splitlines() if line.endswith(f"[request {other}]")
    ]
    assert "WARNING: Cut off because worker" in lines[-1]


def test_a_death_after_a_reported_hang_is_reported_under_the_request_that_caused_it(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    """A worker gets other requests between the report of a hung one and its own end."""
    server = gunicorn(
        APP, **smtp_server.settings, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=1, WEB_CONCURRENCY=1
    )
    reports = "SELECT request_id FROM reports ORDER BY time"

    def ask(view: str, identifier: str) -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request(f"/{view}", headers=header(identifier))

    with ThreadPoolExecutor(1) as clients:
        hanging = clients.submit(ask, "hang", IDENTIFIER)
        wait_until(
            lambda: query_spool(reports) == [(IDENTIFIER,)], "the report of the hung request"
        )
        other = IDENTIFIER[::-1]
        ask("kill", other)
        hanging.result()
    wait_until(
        lambda: query_spool(reports) == [(IDENTIFIER,), (other,)],
        "the report of the other request",
    )
    server.stop()
    assert len(query_spool(reports)) == 2


@pytest.mark.parametrize("view", ["hang", "stuck_in_c"])
def test_a_request_that_takes_too_long_is_one_report_with_its_stack(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    query_spool: QuerySpool,
    view: str,
) -> None:
    """Our watchdog reports the one in Python, gunicorn's master the one that is stuck in C."""
    server = gunicorn(APP, **smtp_server.settings, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        server.request(f"/{view}", headers=header(IDENTIFIER))
    report = the_report(time.monotonic())
    assert report.request_id == IDENTIFIER
    assert f"in {view}" in report.traceback
    if view == "stuck_in_c":
        assert "from gunicorn: its main loop did not run for 6 s" in report.message
        assert "memory" not in report.message
    server.stop()
    assert len(query_spool("SELECT body FROM reports")) == 1


def test_no_request_waits_for_a_hung_thread_while_another_worker_is_idle(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(APP, REQUEST_TIMEOUT=20, WEB_CONCURRENCY=2, WEB_THREADS=1)
    wait_until(lambda: len(server.workers()) == 2, "both workers")

    def hang() -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request("/hang", timeout=60)

    with ThreadPoolExecutor(1) as clients:
        hanging = clients.submit(hang)
        wait_until(lambda: "It hangs" in server.log.read_text(), "the request that hangs")
        assert max(server.request("/log_warning").seconds for _ in range(20)) < 10
        server.kill()
        hanging.result()


def test_a_request_to_a_worker_whose_threads_all_hang_is_served_by_its_replacement(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any], query_spool: QuerySpool
) -> None:
    server = gunicorn(APP, REQUEST_TIMEOUT=2, WEB_CONCURRENCY=1, WEB_THREADS=2)

    def hang(_: int) -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request("/hang", timeout=60)

    with ThreadPoolExecutor(2) as clients:
        hanging = clients.map(hang, range(2))
        wait_until(lambda: server.log.read_text().count("It hangs") == 2, "both threads")
        answer = server.request("/slow", timeout=60)
        list(hanging)
    assert answer.status == 200
    server.stop()
    messages = query_spool("SELECT json_extract(body, '$.message') FROM reports")
    assert messages == [("Request timed out after 2 s",)] * 2


def test_threads_of_the_command_line_are_watched_too(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any], query_spool: QuerySpool
) -> None:
    server = gunicorn(APP, "--threads", "4", WEB_THREADS=1, REQUEST_TIMEOUT=1, WEB_CONCURRENCY=1)

    def ask(_: int) -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request("/hang", timeout=60)

    with ThreadPoolExecutor(3) as clients:
        list(clients.map(ask, range(3)))
    assert query_spool("SELECT count(*) FROM reports") == [(3,)]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("hang", "Request timed out after 1 s"),
        ("stuck_in_c", "was killed by SIGKILL, since the server stopped"),
    ],
)
def test_a_request_that_hangs_during_a_shutdown_is_one_report(
    gunicorn: Callable[..., Any],
    the_report: Callable[..., Report],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
    view: str,
    message: str,
) -> None:
    server = gunicorn(
        APP, **smtp_server.settings, TRUSTED_PROXIES=1, REQUEST_TIMEOUT=1, WEB_CONCURRENCY=1
    )

    def ask() -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.request(f"/{view}", headers=header(IDENTIFIER))

    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(ask)
        wait_until(lambda: "It hangs" in server.log.read_text(), "the request that hangs")
        server.stop()
        asked.result()
    report = the_report()
    assert message in report.message
    assert report.request_id == IDENTIFIER
    assert len(query_spool("SELECT body FROM reports")) == 1


def test_a_worker_killed_at_a_stop_while_sending_a_mail_is_not_reported(
    gunicorn: Callable[..., Any], smtp_server: Any, query_spool: QuerySpool, wait_until: Any
) -> None:
    smtp_server.behave("hang")
    server = gunicorn(
        APP, **smtp_server.settings, REQUEST_TIMEOUT=1, WEB_CONCURRENCY=1, MAIL_TIMEOUT=60
    )
    before = smtp_server.connections
    server.request("/view_raises")
    wait_until(lambda: smtp_server.connections > before, "the courier to connect")
    server.stop()
    assert query_spool("SELECT json_extract(body, '$.message') FROM reports") == [
        ("a view raises",)
    ]


# Without a request


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("import", [APP], "No module named 'tests.integration.there_is_no_such_module'"),
        ("import of the blog", [APP], "import of app.main.routes halted"),
        ("boot", [APP], "the app cannot be made"),
        ("boot with a RuntimeError", [APP], "the app cannot be made"),
        (
            "worker",
            [APP, "-k", "tests.integration.sources_app.BrokenWorker"],
            "the worker cannot start",
        ),
        (
            "worker exits",
            [APP, "-k", "tests.integration.sources_app.BrokenWorker"],
            "exited with status 3",
        ),
    ],
)
def test_a_server_that_cannot_start_mails_why_before_it_exits(
    refused_gunicorn: Callable[..., tuple[int, str]],
    smtp_server: Any,
    the_report: Callable[..., Report],
    what: str,
    options: list[str],
    message: str,
) -> None:
    settings = {**smtp_server.settings, "SOURCES_BREAK": what, "WEB_CONCURRENCY": "1"}
    status, output = refused_gunicorn(*options, **settings)
    assert status != 0
    assert len(smtp_server.mails) == 1, output
    assert message in the_report().message


@pytest.mark.parametrize("what", ["worker", "worker exits"])
def test_workers_that_cannot_start_are_one_report_each(
    refused_gunicorn: Callable[..., tuple[int, str]], query_spool: QuerySpool, what: str
) -> None:
    """gunicorn raises for the second worker while it handles the first."""
    options = [APP, "-k", "tests.integration.sources_app.BrokenWorker"]
    status, output = refused_gunicorn(*options, SOURCES_BREAK=what, WEB_CONCURRENCY="3")
    assert status == 3
    assert "HaltServer" not in output
    expected = "the worker cannot start" if what == "worker" else "exited with status 3"
    messages = query_spool("SELECT json_extract(body, '$.message') FROM reports")
    assert 1 <= len(messages) <= 3
    assert all(expected in message for (message,) in messages)


def test_a_server_that_cannot_start_exits_though_the_mail_server_hangs(
    refused_gunicorn: Callable[..., tuple[int, str]], smtp_server: Any, query_spool: QuerySpool
) -> None:
    smtp_server.behave("hang")
    settings = {**smtp_server.settings, "SOURCES_BREAK": "boot", "MAIL_TIMEOUT": "300"}
    started = time.monotonic()
    status, _ = refused_gunicorn(APP, **settings)
    assert status != 0
    assert time.monotonic() - started < 150  # half of MAIL_TIMEOUT
    assert query_spool("SELECT state FROM mails") == [("waiting",)]


def test_a_command_that_raises_is_one_report(
    flask: Callable[..., Any], smtp_server: Any, the_report: Callable[..., Report]
) -> None:
    settings = {**smtp_server.settings, "FLASK_APP": "tests.integration.sources_app:make"}
    done = flask("raise", **settings)
    assert done.returncode == 1
    assert len(smtp_server.mails) == 1
    assert the_report().message == "a command raises"


@pytest.mark.parametrize("what", ["import of the blog", "boot"])
def test_a_command_of_an_app_that_cannot_be_made_is_one_report(
    flask: Callable[..., Any], smtp_server: Any, the_report: Callable[..., Report], what: str
) -> None:
    settings = {**smtp_server.settings, "FLASK_APP": "tests.integration.sources_app:make"}
    done = flask("db", "upgrade", **settings, SOURCES_BREAK=what)
    assert done.returncode == 1
    assert len(smtp_server.mails) == 1
    assert the_report().type in ("ModuleNotFoundError", "ValueError")


@pytest.mark.parametrize("error", ["ValueError", "RuntimeError"])
def test_a_migration_that_raises_is_one_report(
    flask: Callable[..., Any],
    smtp_server: Any,
    the_report: Callable[..., Report],
    tmp_path: Path,
    error: str,
) -> None:
    """Flask-Migrate catches a RuntimeError and exits after one line."""
    migrations = tmp_path / "migrations"
    (migrations / "versions").mkdir(parents=True)
    for name in ("env.py", "alembic.ini", "script.py.mako"):
        (migrations / name).write_text((Path("migrations") / name).read_text())
    (migrations / "versions" / "0001_broken.py").write_text(
        "revision, down_revision = '0001', None\n"
        f"def upgrade(): raise {error}('the migration fails')\n"
    )
    done = flask("db", "upgrade", "-d", str(migrations), **smtp_server.settings)
    assert done.returncode == 1
    assert len(smtp_server.mails) == 1
    assert "the migration fails" in the_report().message


def test_a_migration_without_a_database_is_one_report(
    flask: Callable[..., Any], smtp_server: Any, the_report: Callable[..., Report]
) -> None:
    url = "postgresql://nobody@127.0.0.1:1/microblog"
    done = flask("db", "upgrade", **smtp_server.settings, DATABASE_URL=url)
    assert done.returncode == 1
    assert len(smtp_server.mails) == 1
    assert "Connection refused" in the_report().message
