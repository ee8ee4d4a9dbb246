"""The drills: hidden where they are off, refused to other sites, and exact in what they do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.database import db
from flask_mayday.drill.drills import DRILLS
from flask_mayday.report.report import Report

ReadReports = Callable[[], list[Report]]
KINDS = list(DRILLS)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(DRILL=True)


def post(app: Flask, kind: str, origin: str | None = None, **form: str) -> TestResponse:
    headers = {"Accept": "application/json"} | ({} if origin is None else {"Origin": origin})
    return app.test_client().post(f"/drill/{kind}", data=form, headers=headers)


def test_the_drills_are_hidden_unless_they_are_switched_on(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = make_app()
    for path in ("", "/pages", "/pages/500", "/pages/nginx/502"):
        assert app.test_client().get(f"/drill{path}").status_code == 404
    for kind in KINDS:
        assert post(app, kind).status_code == 404
    assert read_reports() == []


def test_the_page_has_a_button_for_each_drill(app: Flask) -> None:
    page = app.test_client().get("/drill")
    assert page.status_code == 200
    for kind in KINDS:
        assert f'action="/drill/{kind}"' in page.text


def test_an_unknown_drill_is_not_found(app: Flask) -> None:
    assert post(app, "tea").status_code == 404


def test_a_drill_is_no_link(app: Flask) -> None:
    assert app.test_client().get("/drill/exception").status_code == 405


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost.evil.example",
        "http://localhost:81",
        "localhost",
        "http://",
        "http://[",
        "http://evil.example/localhost",
        "\x7f",
    ],
)
def test_a_form_of_another_site_is_refused(
    app: Flask, read_reports: ReadReports, origin: str
) -> None:
    assert post(app, "exception", origin).status_code == 403
    assert read_reports() == []


@pytest.mark.parametrize("origin", [None, "http://localhost", "https://localhost"])
def test_a_form_of_ones_own_is_taken(app: Flask, origin: str | None) -> None:
    assert post(app, "exception", origin).status_code == 500


def test_an_exception_bears_its_message(app: Flask, read_reports: ReadReports) -> None:
    for message in ("one", "one", "two"):
        assert post(app, "exception", message=message).status_code == 500
    first, again, other = read_reports()
    assert (first.type, first.message, first.where) == (
        "DrillError",
        "one",
        "at POST /drill/<kind>",
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_messages_that_differ_only_in_a_number_are_different_errors(
    app: Flask, read_reports: ReadReports
) -> None:
    post(app, "exception", message="number 1")
    post(app, "exception", message="number 2")
    assert len({report.fingerprint for report in read_reports()}) == 2


def test_without_a_message_every_exception_is_an_error_of_its_own(
    app: Flask, read_reports: ReadReports
) -> None:
    post(app, "exception")
    post(app, "exception")
    assert len({report.fingerprint for report in read_reports()}) == 2


def test_the_database_drill_is_reported_without_the_values_of_the_statement(
    app: Flask, read_reports: ReadReports
) -> None:
    with app.app_context():
        db.create_all()
    assert post(app, "database").status_code == 500
    (report,) = read_reports()
    assert report.type == "OperationalError"
    assert "mayday_drill_no_such_table" in report.message
    assert "hidden due to hide_parameters=True" in report.message


def test_a_burst_writes_exactly_so_many_lines(app: Flask, read_log: Callable[[], str]) -> None:
    answer = post(app, "log-burst", lines="25")
    assert (answer.status_code, answer.json) == (200, {"ordered": 25, "written": 25})
    lines = [line for line in read_log().splitlines() if "of a burst" in line]
    assert len(lines) == 25


NUMBERS = ["0", "-1", "1.5", "many", "1e3", "٣", "²", "100000000", "9" * 40, "000100000000000"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("kind", "field"), [("flood", "count"), ("log-burst", "lines")])
def test_a_number_out_of_range_is_refused_with_the_range(
    app: Flask, read_reports: ReadReports, kind: str, field: str, number: str
) -> None:
    answer = post(app, kind, **{field: number})
    assert answer.status_code == 400
    assert answer.json is not None
    assert f"The field {field} takes a whole number from 1 to " in answer.json["detail"]
    assert read_reports() == []
