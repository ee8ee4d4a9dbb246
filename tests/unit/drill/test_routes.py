"""The pages and drills at ``/drill``: who may use them, and what each of them does."""

from __future__ import annotations

import html
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from app.database import db
from flask_mayday.drill.drills import DRILLS, _own_address
from flask_mayday.pages.style_policy import MAIL_POLICY
from flask_mayday.pages.words import WORDS
from flask_mayday.report.report import Report

ReadReports = Callable[[], list[Report]]
WaitUntil = Callable[..., Any]
KINDS = list(DRILLS)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(DRILL=True)


def post(app: Flask, kind: str, origin: str | None = None, **form: str) -> TestResponse:
    headers = {"Accept": "application/json"} | ({} if origin is None else {"Origin": origin})
    return app.test_client().post(f"/drill/{kind}", data=form, headers=headers)


def test_without_drill_every_address_is_not_found(
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


@pytest.mark.parametrize("proxies", [0, 1])
def test_the_page_mentions_the_pages_of_nginx_only_behind_it(
    make_app: Callable[..., Flask], proxies: int
) -> None:
    app = make_app(DRILL=True, TRUSTED_PROXIES=proxies)
    assert app.test_client().get("/drill").text.count("nginx answers") == 2 * proxies


def test_the_error_page_of_a_drill_says_how_to_find_the_log_lines(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(DRILL=True, LOG_HINT="journalctl --grep {request_id}")
    answer = app.test_client().post("/drill/exception")
    assert f"journalctl --grep {answer.headers['X-Request-ID']}" in answer.text


def test_a_flood_through_a_unix_socket_is_refused_with_the_reason(app: Flask) -> None:
    one, other = socket.socketpair()
    with one, other:
        environ = {"gunicorn.socket": one}
        answer = app.test_client().post("/drill/flood", environ_overrides=environ)
    assert answer.status_code == 501
    assert "Unix socket" in answer.text


@pytest.mark.parametrize(
    ("listens_at", "used"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")],
)
def test_a_flood_goes_to_the_address_at_which_the_server_listens(
    app: Flask, listens_at: str, used: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as connection:
        environ = {"gunicorn.socket": connection, "SERVER_NAME": listens_at}
        with app.test_request_context(environ_overrides=environ):
            assert _own_address() == (used, connection.getsockname()[1])


def test_a_flood_reaches_an_app_that_accepts_its_own_name_only(
    app: Flask, read_reports: ReadReports
) -> None:
    app.config["TRUSTED_HOSTS"] = ["shop.example"]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever).start()
    try:
        environ = {"SERVER_PORT": str(server.server_port)}
        headers = {"Host": "shop.example", "Accept": "application/json"}
        answer = app.test_client().post(
            "/drill/flood", data={"count": "2"}, headers=headers, environ_overrides=environ
        )
    finally:
        server.shutdown()
        server.server_close()
    assert answer.get_json()["statuses"] == {"500": 2}
    assert len(read_reports()) == 2


def test_an_unknown_drill_is_not_found(app: Flask) -> None:
    assert post(app, "tea").status_code == 404


@pytest.mark.parametrize("path", ["", "/pages", "/pages/500", "/mail/" + "0" * 32, "/exception"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "[::1", "x@y"])
def test_another_name_that_points_here_opens_no_drill(
    app: Flask, read_reports: ReadReports, path: str, host: str
) -> None:
    client = app.test_client()
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.get(f"/drill{path}", headers=headers).status_code in (400, 403)
    assert client.post(f"/drill{path}", headers=headers).status_code in (400, 403)
    assert client.get("/login", headers={"Host": "blog.example"}).status_code == 200
    assert read_reports() == []


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080", "a.localhost", "Blog.example"],
)
def test_a_drill_can_be_used_under_a_local_or_configured_name(
    make_app: Callable[..., Flask], host: str
) -> None:
    app = make_app(DRILL=True)
    app.config["SERVER_NAME"] = "blog.example:8080"
    assert app.test_client().get("/drill", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("shop.example", 200), ("www.shop.example:80", 200), ("eshop.example", 400)],
)
def test_a_trusted_domain_includes_its_subdomains(
    make_app: Callable[..., Flask], host: str, status: int
) -> None:
    app = make_app(DRILL=True)
    app.config["TRUSTED_HOSTS"] = [".shop.example"]
    assert app.test_client().get("/drill", headers={"Host": host}).status_code == status


def test_a_drill_answers_only_to_post(app: Flask) -> None:
    answer = app.test_client().get("/drill/exception")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/drill/exception", "/drill/mail/" + "a" * 32, "/drill/"])
def test_a_route_of_the_app_at_the_same_path_wins(app: Flask, path: str) -> None:
    app.add_url_rule(path, "own", lambda: "the app's", methods=["GET", "POST"])
    client = app.test_client()
    assert client.get(path).text == "the app's"
    assert client.post(path).text == "the app's"
    assert client.post("/drill/template").status_code == 500


@pytest.mark.parametrize("rule", ["/<path:page>", "/drill/<kind>", "/drill/exceptions", "/drills"])
def test_a_route_of_the_app_at_another_path_does_not_hide_the_drills(app: Flask, rule: str) -> None:
    app.add_url_rule(rule, "own", lambda **_: "the app's", methods=["GET", "POST"])
    client = app.test_client()
    assert client.post("/drill/exception").status_code == 500
    assert 'action="/drill/exception"' in client.get("/drill").text


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
def test_a_form_from_another_site_is_refused(
    app: Flask, read_reports: ReadReports, origin: str
) -> None:
    assert post(app, "exception", origin).status_code == 403
    assert read_reports() == []


@pytest.mark.parametrize("origin", [None, "http://localhost", "https://localhost"])
def test_a_form_from_the_same_site_is_accepted(app: Flask, origin: str | None) -> None:
    assert post(app, "exception", origin).status_code == 500


def test_an_exception_has_the_message_of_the_form(app: Flask, read_reports: ReadReports) -> None:
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


def test_exceptions_without_a_message_are_different_errors(
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


def test_a_burst_writes_the_number_of_lines_that_was_asked_for(
    app: Flask, read_log: Callable[[], str]
) -> None:
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


# Pages for a browser


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_gets_the_counts_as_a_page(app: Flask) -> None:
    client = app.test_client()
    answer = client.post("/drill/log-burst", data={"lines": "25"}, headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "25 lines were written to the log." in answer.text
    answer = client.post("/drill/log-burst", data={"lines": "1"}, headers=BROWSER)
    assert "1 line was written to the log." in answer.text


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "text/html;q=0.1,application/json"]
)
def test_other_clients_get_the_counts_as_json(app: Flask, accept: str | None) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = app.test_client().post("/drill/log-burst", data={"lines": "2"}, headers=headers)
    assert answer.json == {"ordered": 2, "written": 2}


def test_the_pages_list_every_error_page_and_nginx_behind_a_proxy_only(
    make_app: Callable[..., Flask],
) -> None:
    page = make_app(DRILL=True).test_client().get("/drill/pages").text
    for status in WORDS:
        assert f'href="/drill/pages/{status}"' in page
    assert "nginx" not in page
    behind_nginx = make_app(DRILL=True, TRUSTED_PROXIES=1)
    assert 'href="/drill/pages/nginx/502"' in behind_nginx.test_client().get("/drill/pages").text


def test_a_preview_of_an_error_page_reports_nothing(app: Flask, read_reports: ReadReports) -> None:
    for status in WORDS:
        answer = app.test_client().get(f"/drill/pages/{status}")
        assert answer.status_code == status
        assert WORDS[status].title in html.unescape(answer.text)
    assert read_reports() == []


def test_the_page_about_a_site_that_is_down_shows_nginx_and_both_mails(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    client = make_app(DRILL=True, TRUSTED_PROXIES=1).test_client()
    assert 'href="/drill/outage"' in client.get("/drill").text
    page = client.get("/drill/outage").text
    for address in ("/drill/pages/nginx/502", "/drill/outage/mail/down", "/drill/outage/mail/back"):
        assert f'href="{address}"' in page
        client.get(address)
    mail = client.get("/drill/outage/mail/down").text
    assert "The site does not answer" in mail
    assert "/drill/outage" not in mail, "the mail names the request for the page"
    mail = client.get("/drill/outage/mail/back").text
    assert "It was down for 4 min 12 s, and visitors got 37 error pages" in mail
    assert "nginx" not in make_app(DRILL=True).test_client().get("/drill/outage").text
    assert make_app().test_client().get("/drill/outage").status_code == 404
    assert read_reports() == []


# The mail of a request


IDENTIFIER = "0123456789abcdef0123456789abcdef"


def test_the_mail_link_of_an_error_page_leads_to_the_mail(
    make_app: Callable[..., Flask], mail_settings: dict[str, object], wait_until: WaitUntil
) -> None:
    client = make_app(DRILL=True, REPORT_WINDOW=1, **mail_settings).test_client()
    for count in (1, 2):
        page = client.post("/drill/exception", data={"message": "on purpose"}, headers=BROWSER)
        (address,) = re.findall('href="(/drill/mail/[^"]+)"', page.text)
        # The second one is counted, and its mail is the digest.
        wait_until(lambda: "on purpose" in client.get(address).text, f"mail {count}")  # noqa: B023
        mail = client.get(address)
        assert (mail.status_code, mail.mimetype) == (200, "text/html")
        assert page.headers["X-Request-ID"] in mail.text
        assert mail.headers["Content-Security-Policy"] == MAIL_POLICY
        assert "Refresh" not in mail.headers


def test_a_mail_that_is_not_there_yet_is_awaited_for_a_minute(
    make_app: Callable[..., Flask], mail_settings: dict[str, object]
) -> None:
    client = make_app(DRILL=True, REPORT_WINDOW=90, **mail_settings).test_client()
    address, reloads = f"/drill/mail/{IDENTIFIER}", 0
    while True:
        answer = client.get(address)
        assert answer.status_code == 200
        assert IDENTIFIER in answer.text
        assert "mailed less than 90 seconds ago, this one is counted instead" in answer.text
        if "Refresh" not in answer.headers:
            break
        delay, _, address = answer.headers["Refresh"].partition("; url=")
        reloads += int(delay)
        assert reloads <= 60
    assert reloads == 60
    assert "This page no longer reloads." in answer.text


@pytest.mark.parametrize("reloads", ["", "-1", "x", "1e9", "9" * 30])
def test_an_invalid_number_of_reloads_is_no_error(
    make_app: Callable[..., Flask], mail_settings: dict[str, object], reloads: str
) -> None:
    client = make_app(DRILL=True, **mail_settings).test_client()
    assert client.get(f"/drill/mail/{IDENTIFIER}?reloads={reloads}").status_code == 200


def test_an_app_that_sends_no_mail_says_so(app: Flask) -> None:
    answer = app.test_client().get(f"/drill/mail/{IDENTIFIER}")
    assert "This app sends no mail" in answer.text
    assert "Refresh" not in answer.headers


@pytest.mark.parametrize("identifier", ["", "x", "A" * 32, "a" * 31, "a" * 33])
def test_an_invalid_request_id_has_no_mail_page(app: Flask, identifier: str) -> None:
    assert app.test_client().get(f"/drill/mail/{identifier}").status_code == 404


def test_the_unavailable_drill_asks_to_come_back_and_is_reported(
    app: Flask, read_reports: ReadReports
) -> None:
    answer = post(app, "unavailable")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    (report,) = read_reports()
    assert (report.type, report.where) == ("DrillUnavailableError", "at POST /drill/<kind>")
    assert report.request_id == answer.headers["X-Request-ID"]
