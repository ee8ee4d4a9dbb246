"""PostgreSQL restarted under load: visitors get a 503 page, never a 500."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response

from app.database import db
from tests.integration.conftest import TEMPLATE
from tests.support.steady_load import steady_load
from tests.support.visitor import Visitor

RESTARTS = int(os.environ.get("RESTARTS", "5"))

# Statements, and commits, slow enough to be interrupted.
SLOW_POSTS = """
CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
CREATE TRIGGER slow_insert BEFORE INSERT ON post FOR EACH ROW EXECUTE FUNCTION rest();
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON post
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rest();
"""


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_cause_only_503_pages_and_none_afterwards(
    gunicorn: Callable[..., Any],
    own_postgres_server: Any,
    wait_until: Callable[..., Any],
    mode: str,
) -> None:
    database = own_postgres_server
    database.execute(SLOW_POSTS, TEMPLATE)
    server = gunicorn(DATABASE_URL=database.url(TEMPLATE), WEB_CONCURRENCY=2)
    visitor, stranger = (Visitor(f"http://127.0.0.1:{server.port}") for _ in range(2))
    visitor.register("susan")
    visitor.log_in("susan")
    token = visitor.token("/")
    asks = (
        lambda: visitor.open("/", csrf_token=token, post="Is anybody here?").status,
        lambda: visitor.open("/").status,
        lambda: stranger.open("/explore").status,
        lambda: visitor.open("/user/susan").status,
    )
    with steady_load(*asks) as outcomes:
        for _ in range(RESTARTS):
            _wait_for_pages(outcomes, wait_until)
            database.stop(mode)
            database.start()
    assert set(outcomes) == {200, 503}, _tracebacks(server)
    assert [ask() for ask in asks * 4] == [200] * 16


def _wait_for_pages(outcomes: Counter[int | str], wait_until: Callable[..., Any]) -> None:
    """A restart is quick: without this, all five may be over before the first page is answered."""
    before = outcomes[200]
    wait_until(lambda: outcomes[200] > before + 4, "pages")


def _tracebacks(server: Any) -> str:
    """Return the tracebacks in the log that are not about an unavailable database."""
    entries = server.log.read_text().split("\n2")
    return "\n".join(
        entry
        for entry in entries
        if " ERROR: " in entry or " CRITICAL: " in entry
        if "The database cannot be reached" not in entry
    )


def test_a_connection_that_breaks_after_the_view_does_not_fail_the_request(
    make_app: Callable[..., Flask], postgres_server: Any, database_url: str
) -> None:
    """Flask-SQLAlchemy closes the session and rolls back after the view has returned."""
    app = make_app(DATABASE_URL=database_url)

    @app.after_request
    def break_off(response: Response) -> Response:
        pid = db.session.connection().connection.driver_connection.info.backend_pid
        postgres_server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        return response

    visitor = app.test_client()
    assert [visitor.get("/explore").status_code for _ in range(3)] == [200] * 3
