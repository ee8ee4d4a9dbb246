"""The request in a report: all that is known, without reading from the client."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask, request, session
from flask import globals as flask_globals

from app.database import db
from flask_mayday.context import request_id
from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.report.report import Report
from flask_mayday.report.request import whole_request

ReadReports = Callable[[], list[Report]]
MakeApp = Callable[..., Flask]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    made = make_app(TRUSTED_PROXIES=1)

    @made.post("/fail/<name>")
    def fail(name: str) -> str:
        if "read" in request.args:
            _ = request.form, request.files, request.get_json(silent=True)
        if "user" in request.args:
            session["_user_id"] = "17"
        logging.getLogger("app.blog").info("Looking for %s", name)
        logging.getLogger("app.blog").debug("a debug line")
        raise ValueError(f"no {name}")

    return made


def requested(app: Flask, read_reports: ReadReports, path: str, **sent: Any) -> dict[str, Any]:
    app.test_client().post(path, **sent)
    (report,) = read_reports()
    assert report.request is not None
    return report.request


def test_the_client_and_the_request_are_reported(app: Flask, read_reports: ReadReports) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "User-Agent": "A browser", "X-Api-Key": "k"}
    found = requested(app, read_reports, "/fail/zoë?page=2&page=3&token=t&user", headers=headers)
    assert (found["method"], found["path"]) == ("POST", "/fail/zoë")
    assert found["route"] == "/fail/<name>"
    assert found["url"] == "http://localhost/fail/zoë"
    assert found["client"] == "203.0.113.7"
    assert found["user"] == "17"
    assert found["query"] == {"page": ["2", "3"], "token": MASK, "user": ""}
    assert found["headers"]["User-Agent"] == "A browser"
    assert found["headers"]["X-Api-Key"] == MASK


def test_a_form_that_the_app_has_read_is_reported(app: Flask, read_reports: ReadReports) -> None:
    sent = {"about": "me", "password": "short", "photo": (io.BytesIO(b"x"), "me.png")}
    found = requested(app, read_reports, "/fail/susan?read", data=sent)
    assert found["form"] == {"about": "me", "password": MASK}
    assert found["files"] == {"photo": "me.png (image/png)"}
    assert int(found["size"]) > 0


def test_each_file_under_one_name_is_reported(app: Flask, read_reports: ReadReports) -> None:
    sent = {"photo": [(io.BytesIO(b"x"), "me.png"), (io.BytesIO(b"y"), "you.png")]}
    found = requested(app, read_reports, "/fail/susan?read", data=sent)
    assert found["files"] == {"photo": ["me.png (image/png)", "you.png (image/png)"]}


def test_json_that_the_app_has_read_is_reported(app: Flask, read_reports: ReadReports) -> None:
    document = {"user": {"name": "susan", "passwords": ["one", "two"]}, "page": 2, "is": True}
    found = requested(app, read_reports, "/fail/susan?read", json=document)
    assert found["json"] == {"user": {"name": "susan", "passwords": MASK}, "page": 2, "is": True}


def test_a_body_that_the_app_did_not_read_is_not_read(
    app: Flask, read_reports: ReadReports
) -> None:
    class Stream(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the report has read the stream")

    body = {"input_stream": Stream(b"a=b"), "content_length": 3}
    kind = "application/x-www-form-urlencoded"
    found = requested(app, read_reports, "/fail/susan", content_type=kind, **body)
    assert found["form"] is None


def test_the_user_is_nobody_without_a_login(app: Flask, read_reports: ReadReports) -> None:
    assert requested(app, read_reports, "/fail/susan")["user"] == "nobody"


def test_the_user_is_reported_without_a_query(app: Flask, read_reports: ReadReports) -> None:
    with app.app_context():
        db.engine.dispose()  # there are no tables either: a query would fail
    assert requested(app, read_reports, "/fail/susan?user")["user"] == "17"


def test_reporting_the_user_does_not_make_the_response_vary(app: Flask) -> None:
    with app.test_request_context("/") as context:
        redactor = Redactor([]).bind(request.environ)
        assert whole_request(request.environ, redactor)["user"] == "nobody"
        opened: Any = vars(context)["_session"]
        assert not opened.accessed


def test_lines_that_a_request_logged_are_reported(app: Flask, read_reports: ReadReports) -> None:
    app.test_client().post("/fail/susan")
    (report,) = read_reports()
    (line,) = report.earlier
    assert line.endswith("INFO: Looking for susan [app.blog]")


@pytest.mark.parametrize("length", [0, 600, 4000, 20_000])
@pytest.mark.parametrize("around", [0, 4596, 4000, 250])
def test_a_long_line_that_a_request_has_logged_is_cut_without_its_secrets(
    app: Flask, read_reports: ReadReports, length: int, around: int
) -> None:
    secret = "never-to-be-seen" * 4
    before = max(0, min(around, length) - len(secret) // 2)

    @app.post("/long")
    def long() -> str:
        app.logger.info("." * before + secret + "." * (length - before))
        raise ValueError("boom")

    app.test_client().post("/long", headers={"X-Api-Key": secret})
    (line,) = read_reports()[0].earlier
    assert "seen" not in line
    assert length < 4000 or "characters left out" in line


def test_lines_of_another_request_are_not_reported(app: Flask, read_reports: ReadReports) -> None:
    for name in ("susan", "zoe"):
        app.test_client().post(f"/fail/{name}")
    assert all(len(report.earlier) == 1 for report in read_reports())


def test_a_request_of_another_thread_has_no_session_to_read() -> None:
    environ = {request_id.ENVIRON_KEY: "f" * 32, "PATH_INFO": "/", "REQUEST_METHOD": "GET"}
    assert whole_request(environ, Redactor([]).bind(environ))["user"] == "unknown"


def shown_query(query: str, secret: str) -> str:
    environ = {"QUERY_STRING": query, "HTTP_COOKIE": f"session={secret}"}
    return str(whole_request(environ, Redactor([]).bind(environ))["query"])


@pytest.mark.parametrize("before", range(7950, 8010, 7))
def test_a_long_query_is_cut_without_its_secrets(before: int) -> None:
    query = "&".join(f"{name}={'.' * 1900}" for name in "abcd") + "&e="
    shown = shown_query(f"{query:.<{before}}never-to-be-seen", "never-to-be-seen")
    assert "never" not in shown


@pytest.mark.parametrize("before", range(0, 220, 7))
def test_a_long_name_is_cut_without_its_secrets(before: int) -> None:
    shown = shown_query("." * before + "never-to-be-seen" + "." * 200, "never-to-be-seen")
    assert "never" not in shown
    assert "characters left out" in shown


def test_a_part_that_cannot_be_read_says_so() -> None:
    class Broken:
        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]
            raise RuntimeError("broken")

    environ = {request_id.ENVIRON_KEY: "f" * 32, "werkzeug.request": Broken(), "PATH_INFO": "/a"}
    found = whole_request(environ, Redactor([]).bind(environ))
    assert found["form"] == "(not available: RuntimeError)"
    assert sys.exc_info() == (None, None, None)


def test_the_user_is_known_with_an_older_flask_too(app: Flask) -> None:
    """Before Flask 3.1.3, the session was a plain attribute of the request context."""
    redactor = Redactor([]).bind(None)
    with app.test_request_context("/") as context:
        older = SimpleNamespace(request=request._get_current_object(), session={})
        token = flask_globals._cv_request.set(cast(Any, older))
        try:
            assert whole_request(request.environ, redactor)["user"] == "nobody"
            older.session["_user_id"] = "17"
            assert whole_request(request.environ, redactor)["user"] == "17"
        finally:
            flask_globals._cv_request.reset(token)
        assert whole_request(context.request.environ, redactor)["user"] == "nobody"
