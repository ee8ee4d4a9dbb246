"""The pages that a visitor sees, in HTML and in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from flask import Flask, abort, redirect
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import NotFound
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from app.database import db
from app.models import User
from flask_mayday.report.report import Report

JSON = {"Accept": "application/json"}
ReadReports = Callable[[], list[Report]]


class Unreachable(psycopg2.OperationalError):
    """What psycopg2 raises where no server answers."""

    __module__ = "psycopg2"


class WithCode(psycopg2.OperationalError):
    """An error that PostgreSQL has given a code."""

    __module__ = "psycopg2.errors"

    def __init__(self, pgcode: str) -> None:
        super().__init__("the server's words")
        self.code = pgcode

    @property
    def pgcode(self) -> str:
        return self.code


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """Return an app with a path for each kind of error."""
    app = make_app()

    def boom() -> str:
        raise RuntimeError("boom in the view")

    app.add_url_rule("/boom", view_func=boom)
    app.add_url_rule("/abort/<int:status>", "abort", lambda status: abort(status))
    return app


def raising(app: Flask, path: str, error: BaseException) -> None:
    def view() -> str:
        raise error

    app.add_url_rule(path, path, view)


def trouble(answer: TestResponse) -> dict[str, Any]:
    """Return the problem document, after checking what all of them have in common."""
    assert answer.content_type == "application/problem+json"
    document: dict[str, Any] = json.loads(answer.data)
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    assert document["type"] == "about:blank"
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["X-Request-ID"]
    return document


PATHS = [("/nowhere", 404), ("/boom", 500), ("/abort/503", 503), ("/abort/429", 429)]


@pytest.mark.parametrize(("path", "status"), PATHS)
def test_an_error_page_shows_the_request_id(app: Flask, path: str, status: int) -> None:
    answer = app.test_client().get(path)
    assert answer.status_code == status
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["X-Request-ID"] in answer.text


@pytest.mark.parametrize(("path", "status"), PATHS)
def test_an_error_is_a_problem_document_for_a_client_that_wants_json(
    app: Flask, path: str, status: int
) -> None:
    answer = app.test_client().get(path, headers=JSON)
    assert answer.status_code == status
    assert trouble(answer)["title"]


def test_a_description_that_is_an_exception_is_shown_as_text(app: Flask) -> None:
    app.add_url_rule("/described", view_func=lambda: abort(400, ValueError("no such day")))
    answer = app.test_client().get("/described", headers=JSON)
    assert trouble(answer)["detail"] == "no such day"
    assert "no such day" in app.test_client().get("/described").text


def test_an_error_that_asks_to_be_cached_is_not(app: Flask) -> None:
    class Cacheable(NotFound):
        def get_headers(self, *_: object) -> list[tuple[str, str]]:
            return [("Cache-Control", "public, max-age=3600"), ("Vary", "Cookie")]

    app.add_url_rule("/cacheable", view_func=lambda: abort(Cacheable()))
    headers = app.test_client().get("/cacheable").headers
    assert headers.getlist("Cache-Control") == ["no-store"]


@pytest.mark.parametrize("headers", [{}, JSON])
@pytest.mark.parametrize(("path", "status"), PATHS)
def test_an_error_is_not_cached_and_varies_by_accept(
    app: Flask, path: str, status: int, headers: dict[str, str]
) -> None:
    answer = app.test_client().get(path, headers=headers)
    assert "Accept" in answer.headers["Vary"].split(", ")
    assert answer.headers.getlist("Cache-Control") == ["no-store"]
    assert len(answer.headers.getlist("X-Request-ID")) == 1
    assert len(answer.headers.getlist("Content-Type")) == 1


@pytest.mark.parametrize("headers", [{}, JSON])
@pytest.mark.parametrize(("path", "status"), PATHS)
def test_the_answer_to_head_has_no_body(
    app: Flask, path: str, status: int, headers: dict[str, str]
) -> None:
    answer = app.test_client().head(path, headers=headers)
    assert (answer.status_code, answer.data) == (status, b"")


def test_a_response_to_a_wrong_method_names_the_allowed_ones(app: Flask) -> None:
    answer = app.test_client().delete("/boom", headers=JSON)
    assert answer.status_code == 405
    assert trouble(answer)["title"] == "Method not allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_redirect_is_not_replaced(app: Flask) -> None:
    app.add_url_rule("/away", view_func=lambda: abort(redirect("/elsewhere")))
    answer = app.test_client().get("/away")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/elsewhere")


def test_a_response_passed_to_abort_is_not_replaced(app: Flask) -> None:
    own = app.response_class("mine", 418)
    app.add_url_rule("/own", view_func=lambda: abort(own))
    answer = app.test_client().get("/own")
    assert (answer.status_code, answer.data) == (418, b"mine")


@pytest.mark.parametrize("host", ["a" * 64 + ".example.org", "a..b", "xn--a"])
@pytest.mark.parametrize("path", ["/", "/explore", "/nothing-here"])
def test_an_undecodable_host_is_a_bad_request_and_not_reported(
    app: Flask, read_reports: ReadReports, host: str, path: str
) -> None:
    environ = EnvironBuilder(path=path).get_environ() | {"HTTP_HOST": host}
    body, status, headers = run_wsgi_app(app.wsgi_app, environ)
    page = b"".join(body).decode()
    assert status == "400 BAD REQUEST"
    assert "Skip to content" in page  # the page itself, not the plain one
    assert headers["X-Request-ID"] in page
    assert read_reports() == []


def test_text_from_the_visitor_is_escaped(app: Flask) -> None:
    app.add_url_rule("/echo", view_func=lambda: abort(400, "<script>alert(1)</script>"))
    answer = app.test_client().get("/echo")
    assert answer.status_code == 400
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_the_page_says_whether_the_administrator_was_notified(
    make_app: Callable[..., Flask], mail_settings: dict[str, object]
) -> None:
    for overrides, words in (
        ({}, "The error has been recorded for the administrator."),
        (mail_settings, "The administrator has been notified."),
    ):
        app = make_app(**overrides)
        raising(app, "/boom", RuntimeError("boom"))
        assert words in app.test_client().get("/boom").text
        assert words not in app.test_client().get("/nowhere").text


# One report for one error


def test_an_unhandled_exception_is_reported_once(app: Flask, read_reports: ReadReports) -> None:
    answer = app.test_client().get("/boom")
    (report,) = read_reports()
    assert report.request_id == answer.headers["X-Request-ID"]
    assert (report.type, report.message) == ("RuntimeError", "boom in the view")
    assert report.where == "at GET /boom"
    assert 'raise RuntimeError("boom in the view")' in report.traceback


def test_an_unhandled_exception_is_one_record_of_the_log(
    app: Flask, read_log: Callable[[], str]
) -> None:
    answer = app.test_client().get("/boom")
    (line,) = [line for line in read_log().splitlines() if " ERROR: " in line]
    assert line.endswith(f"[request {answer.headers['X-Request-ID']}]")


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504])
def test_every_5xx_that_the_app_answers_is_reported_once(
    app: Flask, read_reports: ReadReports, status: int
) -> None:
    answer = app.test_client().get(f"/abort/{status}")
    (report,) = read_reports()
    assert report.request_id == answer.headers["X-Request-ID"]
    assert str(status) in report.message


def test_a_5xx_that_a_view_returns_is_reported_too(app: Flask, read_reports: ReadReports) -> None:
    app.add_url_rule("/returned", view_func=lambda: ("no", 502))
    app.test_client().get("/returned")
    (report,) = read_reports()
    assert report.message.startswith("Answered 502")


def test_a_path_in_another_script_is_readable_in_a_message(
    app: Flask, read_reports: ReadReports
) -> None:
    app.add_url_rule("/returned/<name>", view_func=lambda name: ("no", 502))
    app.test_client().get("/returned/caf\u00e9")
    (report,) = read_reports()
    assert report.message.endswith(" to GET /returned/caf\u00e9")


@pytest.mark.parametrize("path", ["/", "/nowhere", "/abort/400", "/abort/429", "/health/live"])
def test_client_errors_are_not_reported(app: Flask, read_reports: ReadReports, path: str) -> None:
    app.test_client().get(path)
    assert read_reports() == []


def test_the_report_names_the_route_without_the_values_of_its_variables(
    app: Flask, read_reports: ReadReports
) -> None:
    def show(username: str) -> str:
        raise LookupError("no such thing")

    app.add_url_rule("/user/<username>", view_func=show)
    app.test_client().get("/user/susan")
    (report,) = read_reports()
    assert report.where == "at GET /user/<username>"


# Trouble in the page itself


def test_a_broken_template_still_leaves_a_page_with_the_id_and_a_report(
    app: Flask, read_reports: ReadReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.jinja_env, "loader", None)
    answer = app.test_client().get("/boom")
    assert answer.status_code == 500
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["X-Request-ID"] in answer.text
    assert {report.type for report in read_reports()} == {"RuntimeError", "TypeError"}
    assert {report.request_id for report in read_reports()} == {answer.headers["X-Request-ID"]}


def test_a_handler_that_raises_still_leaves_a_page_with_the_id_and_a_report(
    app: Flask, read_reports: ReadReports
) -> None:
    def broken(error: Exception) -> str:
        raise RuntimeError("boom in the handler")

    app.register_error_handler(404, broken)
    answer = app.test_client().get("/nowhere")
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.text
    (report,) = read_reports()
    assert report.message == "boom in the handler"


def test_a_500_handler_that_raises_is_caught_by_the_middleware(
    app: Flask, read_reports: ReadReports
) -> None:
    def broken(error: Exception) -> str:
        raise RuntimeError("boom in the last handler")

    app.register_error_handler(500, broken)
    answer = app.test_client().get("/boom")
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.text
    assert [report.message for report in read_reports()] == [
        "boom in the view",
        "boom in the last handler",
    ]


# The database


@contextmanager
def statements() -> Iterator[list[str]]:
    """Return a list of the SQL statements that are executed from now on."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize(("path", "status"), PATHS)
def test_an_error_page_makes_no_query_even_for_a_logged_in_user(
    app: Flask, path: str, status: int
) -> None:
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "1"
        session["_fresh"] = True
    with statements() as seen:
        assert client.get(path).status_code == status
    assert seen == []


def test_the_transaction_of_a_failed_request_is_rolled_back(app: Flask) -> None:
    def half_done() -> str:
        db.session.add(User(username="half", email="half@example.com"))
        db.session.flush()
        raise RuntimeError("boom after the flush")

    app.add_url_rule("/half-done", view_func=half_done)
    with app.app_context():
        db.create_all()
        # The view used the session of this context, so that leftovers would be visible here.
        assert app.test_client().get("/half-done").status_code == 500
        assert db.session.query(User).count() == 0


def from_driver(kind: type[DBAPIError], orig: BaseException) -> DBAPIError:
    return kind("SELECT 1", None, orig)


UNAVAILABLE = {
    "no server": from_driver(OperationalError, Unreachable("could not connect to server")),
    "connection lost": from_driver(OperationalError, WithCode("08006")),
    "too many connections": from_driver(OperationalError, WithCode("53300")),
    "shutting down": from_driver(OperationalError, WithCode("57P01")),
    "starting up": from_driver(OperationalError, WithCode("57P03")),
    "pool exhausted": PoolTimeoutError("QueuePool limit of size 5 overflow 2 reached"),
    "dropped while idle": DBAPIError.instance(
        "SELECT 1",
        None,
        psycopg2.InterfaceError("connection already closed"),
        psycopg2.Error,
        connection_invalidated=True,
    ),
}

OURS = {
    "a taken name": from_driver(IntegrityError, psycopg2.IntegrityError("duplicate key value")),
    "no such table": from_driver(OperationalError, WithCode("42P01")),
    "wrong use": from_driver(InterfaceError, ValueError("bind message supplies 0 parameters")),
}


@pytest.mark.parametrize("kind", UNAVAILABLE)
def test_an_unavailable_database_is_a_503_with_retry_after(
    app: Flask, read_reports: ReadReports, kind: str
) -> None:
    raising(app, "/query", UNAVAILABLE[kind])
    answer = app.test_client().get("/query", headers=JSON)
    assert answer.status_code == 503
    assert trouble(answer)["title"] == "We'll be back in a moment"
    assert int(answer.headers["Retry-After"]) > 0
    (report,) = read_reports()
    assert report.request_id == answer.headers["X-Request-ID"]
    assert report.traceback


@pytest.mark.parametrize("kind", OURS)
def test_a_wrong_query_is_a_500(app: Flask, read_reports: ReadReports, kind: str) -> None:
    raising(app, "/query", OURS[kind])
    answer = app.test_client().get("/query")
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    (report,) = read_reports()
    assert report.type == type(OURS[kind]).__name__


def test_a_duplicate_name_is_reported_without_the_sql_parameters(
    app: Flask, read_reports: ReadReports, read_log: Callable[[], str]
) -> None:
    def register() -> str:
        for _ in range(2):
            user = User(username="susan", email="susan@example.com")
            user.password_hash = "scrypt:32768:8:1$salt$the-hash"
            db.session.add(user)
            db.session.flush()
        return "both"

    app.add_url_rule("/register-twice", view_func=register)
    with app.app_context():
        db.create_all()
    assert app.test_client().get("/register-twice").status_code == 500
    (report,) = read_reports()
    assert report.type == "IntegrityError"
    for text in (report.to_json(), read_log()):
        assert "the-hash" not in text
        assert "susan" not in text
