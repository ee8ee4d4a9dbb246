"""The middleware: an exception that escapes Flask becomes a page and a report."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.test import Client, EnvironBuilder

from flask_mayday.context import in_flight
from flask_mayday.context.in_flight import RequestTable
from flask_mayday.drill.drills import DrillError
from flask_mayday.pages.middleware import BodyError, ErrorMiddleware
from flask_mayday.report.report import Report

ReadReports = Callable[[], list[Report]]


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


def around(app: Flask, wsgi: Any) -> ErrorMiddleware:
    """Return the middleware of ``app`` around another WSGI callable."""
    return ErrorMiddleware(wsgi, app.extensions["mayday"], trust_headers=False)


class Server:
    """The server's side of one WSGI request, as strict as gunicorn's."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.sent = b""
        self.closed = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if exc_info:
            if self.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status:
            raise AssertionError("Response headers already set!")
        self.status, self.headers = status, headers
        return lambda data: None

    def serve(self, app: Any, **options: Any) -> None:
        body = app(EnvironBuilder(**options).get_environ(), self.start_response)
        try:
            for piece in body:
                self.sent += piece
        finally:
            body.close() if hasattr(body, "close") else None

    @property
    def request_id(self) -> str:
        (found,) = [value for name, value in self.headers if name == "X-Request-ID"]
        return found


@pytest.mark.parametrize(
    "error", [SystemExit(1), RuntimeError("boom"), MemoryError(), RecursionError()]
)
def test_an_exception_that_escapes_the_app_gets_a_page_and_a_report(
    app: Flask, read_reports: ReadReports, error: BaseException
) -> None:
    def escaping(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    server = Server()
    server.serve(around(app, escaping), path="/late", method="POST")
    assert server.status.startswith("500 ")
    assert server.request_id in server.sent.decode()
    (report,) = read_reports()
    assert report.request_id == server.request_id
    assert report.type == type(error).__name__
    assert report.where == "at POST /late"


def test_a_view_that_exits_gets_a_page_and_a_report(app: Flask, read_reports: ReadReports) -> None:
    app.add_url_rule("/exit", view_func=lambda: sys.exit(3))
    answer = app.test_client().get("/exit", headers={"Accept": "application/json"})
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]
    assert [report.type for report in read_reports()] == ["SystemExit"]


def test_the_answer_to_head_has_no_body_outside_the_app_either(app: Flask) -> None:
    app.add_url_rule("/exit", view_func=lambda: sys.exit(3))
    answer = app.test_client().head("/exit")
    assert (answer.status_code, answer.data) == (500, b"")


def test_a_request_that_fails_after_its_first_byte_was_written_has_ended(
    app: Flask, read_reports: ReadReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()

    def writing(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        server.sent += b"half of it"  # as the function write of PEP 3333 does
        raise RuntimeError("boom in the middle")

    with closing(RequestTable(1)) as table:
        monkeypatch.setattr(in_flight, "_table", table)
        with pytest.raises(RuntimeError, match="boom in the middle"):
            server.serve(around(app, writing))
        assert table.in_progress == {}
    assert [report.message for report in read_reports()] == ["boom in the middle"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_a_keyboard_interrupt_is_raised_again(
    app: Flask, read_reports: ReadReports, error: BaseException
) -> None:
    def interrupted(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    with pytest.raises(type(error)):
        Server().serve(around(app, interrupted))
    assert read_reports() == []


def test_a_keyboard_interrupt_in_a_body_is_raised_again(app: Flask) -> None:
    with pytest.raises(KeyboardInterrupt):
        Server().serve(around(app, lambda environ, start_response: interrupted_body()))


def interrupted_body() -> Iterator[bytes]:
    yield b"The beginning"
    raise KeyboardInterrupt


def test_an_interrupt_that_a_view_raises_in_a_worker_thread_gets_a_page_and_a_report(
    app: Flask, read_reports: ReadReports
) -> None:
    def interrupted(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise KeyboardInterrupt

    server = Server()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve, around(app, interrupted)).result()
    assert server.status.startswith("500 ")
    assert [report.type for report in read_reports()] == ["KeyboardInterrupt"]


def test_an_interrupt_in_a_body_in_a_worker_thread_does_not_reach_the_server(app: Flask) -> None:
    app.add_url_rule("/body", view_func=lambda: Response(interrupted_body()))
    with ThreadPoolExecutor(1) as thread:
        failure = thread.submit(Server().serve, app, path="/body").exception()
    assert isinstance(failure, BodyError)


def test_a_body_that_fails_before_its_first_byte_becomes_a_page(
    app: Flask, read_reports: ReadReports
) -> None:
    def pieces() -> Iterator[bytes]:
        raise RuntimeError("boom before the first byte")
        yield b""

    app.add_url_rule("/body", view_func=lambda: Response(pieces()))
    server = Server()
    server.serve(app, path="/body")
    assert server.status.startswith("500 ")
    assert server.request_id in server.sent.decode()
    (report,) = read_reports()
    assert report.message == "boom before the first byte"


def test_a_body_that_fails_half_way_is_reported_once_and_cut_off(
    app: Flask, read_reports: ReadReports
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half of it"
        raise RuntimeError("boom in the middle")

    app.add_url_rule("/body", view_func=lambda: Response(pieces()))
    server = Server()
    with pytest.raises(RuntimeError, match="boom in the middle"):
        server.serve(app, path="/body")
    assert server.sent == b"half of it"
    (report,) = read_reports()
    assert report.message == "boom in the middle"
    assert report.request_id == server.request_id


def test_a_client_that_disconnects_is_not_an_error(app: Flask, read_reports: ReadReports) -> None:
    closed: list[bool] = []

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            closed.append(True)

    app.add_url_rule("/body", view_func=lambda: Response(pieces()))
    body = iter(app(EnvironBuilder(path="/body").get_environ(), Server().start_response))
    next(body)
    body.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert read_reports() == []


def test_the_body_of_the_app_is_closed(app: Flask) -> None:
    file = io.BytesIO(b"content")
    app.add_url_rule("/file", view_func=lambda: Response(iter(file)))
    client = Client(app)
    assert client.get("/file").data == b"content"


def test_a_5xx_from_outside_flask_is_reported(app: Flask, read_reports: ReadReports) -> None:
    def unavailable(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("503 SERVICE UNAVAILABLE", [("X-Request-ID", "its own")])
        return [b"later"]

    server = Server()
    server.serve(around(app, unavailable), path="/later")
    (report,) = read_reports()
    assert report.message == "Answered 503 SERVICE UNAVAILABLE to GET /later"
    assert report.request_id == server.request_id


def test_in_debug_mode_the_exception_goes_on_to_the_debugger(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(FLASK_DEBUG=True, DRILL=True)
    with pytest.raises(DrillError):
        app.test_client().post("/drill/exception")
