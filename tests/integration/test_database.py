"""Errors of the database: stopped, restarted, frozen, and constraint violations."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.conftest import TEMPLATE
from tests.support.steady_load import steady_load

SOURCES = "tests.integration.sources_app:make()"
JSON = {"Accept": "application/json"}


def test_a_stopped_database_gets_a_page_within_seconds_and_recovers(
    gunicorn: Callable[..., Any],
    own_postgres_server: Any,
    smtp_server: Any,
    wait_until: Callable[..., Any],
) -> None:
    database = own_postgres_server
    server = gunicorn(
        **smtp_server.settings, DATABASE_URL=database.url("microblog_template"), WEB_CONCURRENCY=2
    )
    for _ in range(10):  # so that every worker has connections that become stale
        assert server.request("/health/ready").status == 200
    database.stop()
    answers = [server.request("/drill/database", "POST", "", JSON) for _ in range(3)]
    for answer in answers:
        assert answer.status == 503
        assert answer.seconds < 15  # half of REQUEST_TIMEOUT
        assert int(answer.headers["Retry-After"]) > 0
        assert json.loads(answer.body)["request_id"] == answer.request_id
    html = server.request("/drill/database", "POST", "")
    assert html.status == 503
    assert html.request_id.encode() in html.body
    assert server.request("/health/live").status == 200
    assert server.request("/health/ready").status == 503
    assert server.request("/login").status == 200
    database.start()
    # No request fails because of the connections that the server has dropped.
    statuses = [server.request("/health/ready").status for _ in range(20)]
    assert statuses == [200] * 20
    (mail,) = wait_until(lambda: list(smtp_server.mails), "the mail about the outage")
    assert mail["X-Request-ID"] == answers[0].request_id


def test_a_duplicate_name_is_reported_without_the_row(
    gunicorn: Callable[..., Any],
    database_url: str,
    smtp_server: Any,
    wait_until: Callable[..., Any],
) -> None:
    server = gunicorn(SOURCES, **smtp_server.settings, DATABASE_URL=database_url)
    answer = server.request("/duplicate_name")
    assert answer.status == 500
    (mail,) = wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")
    assert "UniqueViolation" in mail["Subject"]
    text = mail.get_body(("plain",)).get_content()
    for place in (text, server.log.read_text(), server.output, smtp_server.raw[0].decode()):
        assert "uq_user_username_lower" in place
        assert f"{answer.request_id}@drill.invalid" not in place
        assert "(drill)" not in place


def test_a_password_hash_is_in_no_log_and_in_no_mail(
    gunicorn: Callable[..., Any],
    postgres_server: Any,
    database_url: str,
    smtp_server: Any,
    wait_until: Callable[..., Any],
) -> None:
    """PostgreSQL quotes the whole row when a check fails; SQLAlchemy cannot hide it."""
    name = database_url.rpartition("/")[2]
    postgres_server.execute(
        "ALTER TABLE \"user\" ALTER COLUMN password_hash SET DEFAULT 'scrypt:32768:8:1$s$thehash',"
        " ADD CONSTRAINT short_name CHECK (length(username) < 3) NOT VALID",
        name,
    )
    server = gunicorn(SOURCES, **smtp_server.settings, DATABASE_URL=database_url)
    answer = server.request("/duplicate_name")
    assert answer.status == 500
    (mail,) = wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")
    assert "CheckViolation" in mail["Subject"]
    places = [smtp_server.raw[0], server.log.read_bytes(), server.output.encode()]
    places += [path.read_bytes() for path in server.spool.iterdir() if path.is_file()]
    places.append((postgres_server.folder / "server.log").read_bytes())
    for place in places:
        assert b"thehash" not in place
        assert f"{answer.request_id}@drill.invalid".encode() not in place


def test_a_hanging_database_gets_a_page_within_seconds(
    gunicorn: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    """The connection is accepted, and no reply ever comes."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=64) as silent:
        port = silent.getsockname()[1]
        server = gunicorn(DATABASE_URL=f"postgresql://web@127.0.0.1:{port}/microblog")
        answer = server.request("/drill/database", "POST", "", JSON)
    assert answer.status == 503
    assert answer.seconds < 15  # five seconds as documented, the rest for a busy machine


def test_a_frozen_database_delays_no_page_at_any_number_of_requests(
    gunicorn: Callable[..., Any], own_postgres_server: Any, wait_until: Callable[..., Any]
) -> None:
    database = own_postgres_server
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=2)
    taken: dict[str, list[float]] = {"/explore": [], "/login": []}

    def ask(path: str) -> int:
        answer = server.request(path)
        taken[path].append(answer.seconds)
        return int(answer.status)

    def with_a_query() -> int:
        return ask("/explore")

    def without() -> int:
        return ask("/login")

    assert ask("/explore") == 200
    with database.frozen(), steady_load(with_a_query, without) as outcomes:
        time.sleep(8)  # under load
    assert set(outcomes) == {200, 503}
    assert max(*taken["/explore"], *taken["/login"]) < 15
    # One request at a time waits for the database; the others fail at once.
    assert sorted(taken["/explore"])[len(taken["/explore"]) // 2] < 3
    # The requests that are still waiting have to time out first.
    wait_until(lambda: {ask("/explore") for _ in range(20)} == {200}, "the database")


def test_a_database_that_freezes_in_a_statement_gets_a_page_within_seconds(
    gunicorn: Callable[..., Any], own_postgres_server: Any, wait_until: Callable[..., Any]
) -> None:
    database = own_postgres_server
    server = gunicorn(SOURCES, DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=1)
    running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%(6)'"
    with ThreadPoolExecutor(1) as clients:
        asked = clients.submit(server.request, "/long_statement")
        wait_until(lambda: database.execute(running), "the statement")
        with database.frozen():
            frozen = time.monotonic()
            assert asked.result().status == 503
            assert time.monotonic() - frozen < 15


def test_a_slow_statement_is_not_interrupted(
    gunicorn: Callable[..., Any], own_postgres_server: Any
) -> None:
    server = gunicorn(SOURCES, DATABASE_URL=own_postgres_server.url(TEMPLATE), WEB_CONCURRENCY=1)
    answer = server.request("/long_statement")
    assert (answer.status, answer.body, answer.seconds > 6) == (200, b"done", True)
