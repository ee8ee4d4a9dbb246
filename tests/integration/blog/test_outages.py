"""A database that temporarily refuses: read-only, full, locked, overloaded."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text

from app import outages
from app.database import db
from flask_mayday.report.fingerprint import hash_of
from flask_mayday.report.report import Report
from tests.integration.conftest import TEMPLATE
from tests.support.visitor import Visitor

LONG_AGO = "UPDATE \"user\" SET last_seen = now() - interval '1 hour'"
CODES = {
    **{code: message for code, message in outages.SQLSTATES.items() if len(code) == 5},
    "08006": outages.DOWN,
    "53200": outages.EXHAUSTED,
    "53300": outages.EXHAUSTED,
    "53400": outages.EXHAUSTED,
}


@pytest.fixture
def raising(make_app: Callable[..., Flask], database_url: str) -> Flask:
    """An app with a view in which PostgreSQL raises an error with any SQLSTATE."""
    app = make_app(DATABASE_URL=database_url)

    @app.get("/raise/<code>")
    def raise_error(code: str) -> str:
        db.session.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{code}'; END $$")
        )
        return "nothing was raised"

    return app


@pytest.mark.parametrize("code", CODES)
def test_every_sqlstate_that_means_not_now_is_a_503_that_says_what_it_is(
    raising: Flask, read_reports: Callable[[], list[Report]], code: str
) -> None:
    answer = raising.test_client().get(f"/raise/{code}")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    (report,) = read_reports()
    assert report.request_id == answer.headers["X-Request-ID"]
    assert report.fingerprint == hash_of(f"group\0unavailable: {CODES[code]}")
    assert raising.test_client().get("/explore").status_code == 200


@pytest.mark.parametrize("code", ["22012", "25P02", "42601", "42P01", "42501", "XX000", "P0001"])
def test_any_other_sqlstate_is_a_500(raising: Flask, code: str) -> None:
    assert raising.test_client().get(f"/raise/{code}").status_code == 500


@contextmanager
def read_only(server: Any) -> Iterator[None]:
    """Make a server refuse writes on all connections, as a standby after a failover does."""

    def switch(value: str) -> None:
        server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        server.execute("SELECT pg_reload_conf()")

    switch("on")
    try:
        yield
    finally:
        connection = psycopg2.connect(server.url("postgres"))
        connection.autocommit = True
        connection.cursor().execute("SET default_transaction_read_only = off")
        connection.cursor().execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.cursor().execute("SELECT pg_reload_conf()")
        connection.close()


def member(site: str) -> Visitor:
    visitor = Visitor(site)
    visitor.register("susan")
    assert "Hi, susan!" in visitor.log_in("susan").text
    return visitor


def test_a_read_only_database_costs_readers_nothing_and_writers_get_a_503(
    gunicorn: Callable[..., Any], own_postgres_server: Any, wait_until: Callable[..., Any]
) -> None:
    database = own_postgres_server
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=2)
    susan = member(f"http://127.0.0.1:{server.port}")
    token = susan.token("/")
    database.execute(LONG_AGO, TEMPLATE)
    with read_only(database):
        wait_until(
            lambda: susan.open("/", csrf_token=token, post="Is this kept?").status == 503,
            "the new configuration",
        )
        for path in ("/", "/explore", "/user/susan", "/edit_profile"):
            assert susan.open(path).status == 200, path
        assert Visitor(susan.site).log_in("susan").status == 503  # a login is a row
        page = susan.open("/edit_profile", csrf_token=token, username="john", about_me="")
        assert page.status == 503
    wait_until(
        lambda: susan.open("/", csrf_token=token, post="And this?").status == 200, "writing again"
    )
    log = server.log.read_text()
    assert f"a write that the page does not need: {outages.READ_ONLY}" in log
    assert " ERROR: The database is read-only " in log
    assert "Answered 500" not in log


@contextmanager
def locked(server: Any, table: str) -> Iterator[None]:
    """Hold an exclusive lock on a table."""
    connection = psycopg2.connect(server.url(TEMPLATE))
    connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        connection.close()


def test_a_locked_table_is_a_503_soon_and_no_other_page_waits(
    gunicorn: Callable[..., Any],
    own_postgres_server: Any,
    query_spool: Callable[[str], list[tuple[Any, ...]]],
    wait_until: Callable[..., Any],
) -> None:
    database = own_postgres_server
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=2, REQUEST_TIMEOUT=10)
    answers: list[Any] = []
    others: list[Any] = []
    with locked(database, "post"), ThreadPoolExecutor(11) as clients:
        until = time.monotonic() + 12  # longer than REQUEST_TIMEOUT

        def visit(path: str, taken: list[Any]) -> None:
            while time.monotonic() < until:
                taken.append(server.request(path))
                time.sleep(0.05)

        visitors = [clients.submit(visit, "/explore", answers) for _ in range(10)]
        visitors.append(clients.submit(visit, "/login", others))
        for visitor in visitors:
            visitor.result()
    assert Counter(answer.status for answer in answers).keys() == {503}
    assert {answer.status for answer in others} == {200}
    # A page that waited for the lock would get a 504 after REQUEST_TIMEOUT; so would /login if it
    # waited for a thread. Each request for /explore waits for 2 s.
    assert sorted(answer.seconds for answer in others)[len(others) // 2] < 3
    assert server.request("/explore").status == 200
    server.stop()
    reported = query_spool("SELECT request_id FROM reports")
    assert len(reported) == len(set(reported)) == len(answers)
    messages = query_spool("SELECT DISTINCT json_extract(body, '$.fingerprint') FROM reports")
    assert len(messages) == 1


def test_a_locked_row_does_not_fail_the_page_that_would_note_a_visit(
    gunicorn: Callable[..., Any], own_postgres_server: Any
) -> None:
    database = own_postgres_server
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=1, REQUEST_TIMEOUT=4)
    susan = member(f"http://127.0.0.1:{server.port}")
    database.execute(LONG_AGO, TEMPLATE)
    connection = psycopg2.connect(database.url(TEMPLATE))
    connection.cursor().execute('SELECT 1 FROM "user" FOR UPDATE')
    assert [susan.open("/").status for _ in range(3)] == [200] * 3
    connection.close()


def test_a_session_that_the_server_has_ended_is_replaced(
    gunicorn: Callable[..., Any], own_postgres_server: Any, wait_until: Callable[..., Any]
) -> None:
    database = own_postgres_server
    database.execute(f"ALTER DATABASE {TEMPLATE} SET idle_session_timeout = '2s'")
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=1)
    sessions = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{TEMPLATE}'"
    for _ in range(3):
        assert server.request("/explore").status == 200
        wait_until(lambda: not database.execute(sessions), "the end of the idle session")


@pytest.mark.parametrize("waited", [0, 3])
def test_a_statement_that_takes_too_long_is_one_report(
    gunicorn: Callable[..., Any],
    own_postgres_server: Any,
    query_spool: Callable[[str], list[tuple[Any, ...]]],
    waited: int,
) -> None:
    """After three seconds in the queue, the watchdog reports the request first."""
    server = gunicorn(
        "tests.integration.sources_app:make()",
        DATABASE_URL=own_postgres_server.url(TEMPLATE),
        REQUEST_TIMEOUT=5,
        TRUSTED_PROXIES=1,
    )
    started = {"X-Mayday-Start": f"{time.time() - waited:.3f}"}
    answer = server.request("/long_statement", headers=started)
    assert answer.status == 503
    # The statement would take 6 s, and end with 200.
    server.stop()
    ((message, identifier, group),) = query_spool(
        "SELECT json_extract(body, '$.message'), request_id, fingerprint FROM reports"
    )
    assert identifier == answer.request_id
    if waited:
        assert re.match(r"Request timed out after 5 s, [34]\.", message)
    else:
        assert group == hash_of(f"group\0unavailable: {outages.CANCELLED}")


def test_too_few_database_connections_for_the_threads_are_reported_at_the_first_connection(
    gunicorn: Callable[..., Any],
    database_url: str,
    query_spool: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    server = gunicorn(DATABASE_URL=database_url, WEB_CONCURRENCY=1, WEB_THREADS=128)
    assert server.request("/explore").status == 200
    server.stop()
    ((message,),) = query_spool("SELECT json_extract(body, '$.message') FROM reports")
    assert message.startswith("WEB_CONCURRENCY=1 x WEB_THREADS=128 may open 129 connections")
    assert "allows all of its clients together only 97" in message
    assert "Set WEB_THREADS=96, or raise max_connections" in message
