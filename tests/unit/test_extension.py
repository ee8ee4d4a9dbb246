"""The public API, on apps that know nothing of the demo."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from flask_mayday import ConfigurationError, Mayday, Report
from flask_mayday.context import in_flight, request_id
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.reporting import registry
from flask_mayday.testing import captured_reports

ReadReports = Callable[[], list[Report]]


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Return a factory of apps that write into the test's folder."""
    made: list[Flask] = []

    def make(mayday: Mayday | None = None, name: str = "shop", **config: object) -> Flask:
        app = Flask(name, root_path=str(tmp_path), instance_path=str(tmp_path))
        app.config.update(config)
        (mayday or Mayday()).init_app(app)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["mayday"].courier.stop(5)


def boom() -> str:
    raise RuntimeError("boom")


def test_ten_lines_are_a_page_a_log_entry_and_a_report_under_one_id(
    foreign: Callable[..., Flask], tmp_path: Path, read_reports: ReadReports
) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    answer = app.test_client().get("/boom")
    identifier = answer.headers["X-Request-ID"]
    assert answer.status_code == 500
    assert identifier in answer.text
    (report,) = read_reports()
    assert (report.type, report.message, report.request_id) == ("RuntimeError", "boom", identifier)
    assert f"[request {identifier}]" in (tmp_path / "logs" / "shop.log").read_text()


def test_init_app_twice_connects_once(foreign: Callable[..., Flask]) -> None:
    mayday = Mayday()
    app = foreign(mayday)
    before, wsgi = app.extensions["mayday"], app.wsgi_app
    mayday.init_app(app)
    Mayday(app)
    assert app.extensions["mayday"] is before
    assert app.wsgi_app is wsgi


def test_an_invalid_setting_stops_init_app(foreign: Callable[..., Flask]) -> None:
    with pytest.raises(ConfigurationError, match="MAYDAY_MAIL_PORT is 'x': use a whole number"):
        foreign(MAYDAY_MAIL_PORT="x")


def test_the_request_id_is_there_inside_of_a_request_only(foreign: Callable[..., Flask]) -> None:
    mayday = Mayday()
    app = foreign(mayday)
    app.add_url_rule("/id", view_func=lambda: str(mayday.request_id()))
    answer = app.test_client().get("/id")
    assert answer.text == answer.headers["X-Request-ID"]


def test_a_captured_exception_is_reported_once(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    mayday = Mayday()
    app = foreign(mayday)

    @app.get("/pay")
    def pay() -> str:
        try:
            boom()
        except RuntimeError as error:
            mayday.capture(error, order=42)
        return "try again"

    answer = app.test_client().get("/pay")
    assert answer.status_code == 200
    (report,) = read_reports()
    assert (report.type, report.request_id) == ("RuntimeError", answer.headers["X-Request-ID"])
    assert report.context == {"order": 42}


def test_unavailable_services_are_503_and_one_group_whatever_the_view(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    mayday = Mayday()
    mayday.unavailable(ConnectionError, when=lambda error: "refused" in str(error))
    app = foreign(mayday)

    @app.get("/one")
    def one() -> str:
        raise ConnectionError("refused by host 1")

    @app.get("/two")
    def two() -> str:
        raise ConnectionRefusedError("refused by host 2")

    @app.get("/three")
    def three() -> str:
        raise ConnectionError("no route")

    client = app.test_client()
    answers = [client.get(path) for path in ("/one", "/two", "/three")]
    assert [answer.status_code for answer in answers] == [503, 503, 500]
    assert answers[0].headers["Retry-After"] == "10"
    reports = read_reports()
    assert [report.type for report in reports] == [
        "ConnectionError",
        "ConnectionRefusedError",
        "ConnectionError",
    ]
    assert len({report.fingerprint for report in reports}) == 2


def test_an_added_secret_is_masked_in_log_and_report(
    foreign: Callable[..., Flask], tmp_path: Path, read_reports: ReadReports
) -> None:
    mayday = Mayday()
    mayday.add_secret("before-init-app")
    app = foreign(mayday)
    mayday.add_secret("after-init-app")

    @app.get("/leak")
    def leak() -> str:
        raise RuntimeError("with before-init-app and after-init-app")

    app.test_client().get("/leak")
    text = (tmp_path / "logs" / "shop.log").read_text() + read_reports()[0].to_json()
    assert "before-init-app" not in text.replace("mayday.add_secret", "")
    assert "after-init-app" not in text


def test_secrets_of_the_configuration_are_masked(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    secrets = {"STRIPE_API_KEY": "k3y-0f-str1pe", "CACHE_URL": "redis://:c4che-pa55@cache/0"}
    app = foreign(**secrets, SECRET_KEY="s3cret-key-of-app")

    @app.get("/leak")
    def leak() -> str:
        raise RuntimeError(f"{app.config['STRIPE_API_KEY']} {app.secret_key} c4che-pa55")

    app.test_client().get("/leak")
    text = read_reports()[0].to_json()
    for value in ("k3y-0f-str1pe", "s3cret-key-of-app", "c4che-pa55"):
        assert value not in text


def test_before_report_changes_a_report_or_drops_it(
    foreign: Callable[..., Flask], tmp_path: Path, read_reports: ReadReports
) -> None:
    mayday = Mayday()

    @mayday.before_report
    def only_shop(report: Report) -> Report | None:
        return None if "bot" in report.message else report

    foreign(mayday)
    logging.getLogger("shop").error("a bot came by")
    logging.getLogger("shop").error("a customer came by")
    assert [report.message for report in read_reports()] == ["a customer came by"]
    assert "was dropped by" in (tmp_path / "logs" / "shop.log").read_text()


def test_a_before_report_function_that_returns_no_report_loses_none(
    foreign: Callable[..., Flask], tmp_path: Path, read_reports: ReadReports
) -> None:
    mayday = Mayday()
    mayday.before_report(lambda report: True)  # type: ignore[arg-type,return-value]
    foreign(mayday)
    logging.getLogger("shop").error("a customer came by")
    assert [report.message for report in read_reports()] == ["a customer came by"]
    assert "It returned bool and not a report" in (tmp_path / "logs" / "shop.log").read_text()


def test_a_fingerprint_function_decides_which_errors_are_identical(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    mayday = Mayday()

    @mayday.fingerprint
    def by_route(report: Report) -> str | None:
        if report.type == "KeyError":
            raise ValueError("this function fails")
        return str(report.request and report.request["route"]) if report.request else None

    def fail(kind: str) -> str:
        raise {"key": KeyError, "other": OSError}.get(kind, RuntimeError)(kind)

    app = foreign(mayday)
    app.add_url_rule("/one/<kind>", view_func=fail, endpoint="one")
    app.add_url_rule("/two/<kind>", view_func=fail, endpoint="two")
    for path in ("/one/a", "/one/other", "/two/a", "/one/key", "/two/key"):
        app.test_client().get(path)
    one, other, two, key, key_again = (report.fingerprint for report in read_reports())
    assert one == other
    assert len({one, two, key}) == 3
    assert key == key_again
    first, second = read_reports()[:2]
    assert len(first.former) == 1
    assert first.former != second.former


def test_every_report_names_release_and_environment(
    foreign: Callable[..., Flask], read_reports: ReadReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = foreign(RELEASE="1.4", ENVIRONMENT="staging")
    app.add_url_rule("/boom", view_func=boom)
    app.test_client().get("/boom")
    app.test_client().get("/boom")  # in short form
    monkeypatch.setattr(ReportBuilder, "_whole", lambda *_: 1 / 0)
    app.logger.error("whose report cannot be made")
    found = [(report.release, report.environment) for report in read_reports()]
    assert found == [("1.4", "staging")] * 3


def test_a_before_report_function_that_fails_drops_nothing(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    mayday = Mayday()
    mayday.before_report(lambda report: 1 / 0)  # type: ignore[arg-type,return-value]
    foreign(mayday)
    logging.getLogger("shop").error("boom")
    assert "boom" in [report.message for report in read_reports()]


def test_the_user_function_names_the_user(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    mayday = Mayday()
    mayday.user(lambda: request.headers.get("X-Account"))
    app = foreign(mayday)
    app.add_url_rule("/boom", view_func=boom)
    app.test_client().get("/boom", headers={"X-Account": "account 7"})
    (report,) = read_reports()
    assert report.request is not None
    assert report.request["user"] == "account 7"


# The app's own handlers


def test_the_apps_own_handlers_win(foreign: Callable[..., Flask]) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    app.register_error_handler(404, lambda error: ("my 404", 404))
    app.register_error_handler(HTTPException, lambda error: ("my page", error.code))
    client = app.test_client()
    assert client.get("/nowhere").text == "my 404"
    assert client.post("/boom").text == "my page"  # 405
    answer = client.get("/boom")
    assert (answer.status_code, answer.text) == (500, "my page")
    assert len(answer.headers["X-Request-ID"]) == 32


def test_a_handler_of_a_blueprint_wins(foreign: Callable[..., Flask]) -> None:
    app = foreign()
    blueprint = Blueprint("api", __name__, url_prefix="/api")
    blueprint.add_url_rule("/gone", view_func=lambda: abort(410))
    blueprint.register_error_handler(410, lambda error: ("gone, says the blueprint", 410))
    app.register_blueprint(blueprint)
    app.add_url_rule("/gone", "gone", lambda: abort(410))
    client = app.test_client()
    assert client.get("/api/gone").text == "gone, says the blueprint"
    assert "This page has been removed permanently." in client.get("/gone").text


def test_an_exception_that_the_app_turns_into_a_500_itself_is_reported_with_its_traceback(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    app.register_error_handler(Exception, lambda error: ("my 500", 500))
    answer = app.test_client().get("/boom")
    assert (answer.status_code, answer.text) == (500, "my 500")
    (report,) = read_reports()
    assert (report.type, report.message) == ("RuntimeError", "boom")


def test_a_handler_of_the_app_that_fails_leaves_the_visitor_with_our_page(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    app.register_error_handler(500, lambda error: 1 / 0)
    answer = app.test_client().get("/boom")
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] in answer.text
    assert {report.type for report in read_reports()} == {"RuntimeError", "ZeroDivisionError"}


def test_a_response_that_the_app_returns_is_not_replaced(foreign: Callable[..., Flask]) -> None:
    app = foreign()
    app.add_url_rule("/teapot", view_func=lambda: ("short and stout", 418))
    app.add_url_rule("/own", "own", lambda: abort(Response("mine", 403)))
    client = app.test_client()
    assert client.get("/teapot").text == "short and stout"
    assert client.get("/own").text == "mine"


def test_an_app_has_its_own_template_for_the_pages(
    foreign: Callable[..., Flask], tmp_path: Path
) -> None:
    (tmp_path / "templates" / "mayday").mkdir(parents=True)
    (tmp_path / "templates/mayday/page.html").write_text("{{ status }} in {{ colour }}")
    app = foreign()
    app.context_processor(lambda: {"colour": "green"})
    assert app.test_client().get("/nowhere").text == "404 in green"


def test_a_broken_template_of_the_app_is_reported_and_ours_takes_its_place(
    foreign: Callable[..., Flask], tmp_path: Path, read_reports: ReadReports
) -> None:
    (tmp_path / "templates" / "mayday").mkdir(parents=True)
    (tmp_path / "templates/mayday/page.html").write_text("{{ 1 / 0 }}")
    answer = foreign().test_client().get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] in answer.text
    assert [report.type for report in read_reports()] == ["ZeroDivisionError"]


# What the app asks of every request


def test_health_and_drills_come_before_a_login_check(foreign: Callable[..., Flask]) -> None:
    app = foreign(DRILL=True)
    app.before_request(lambda: abort(401))
    client = app.test_client()
    assert client.get("/health/live").json["status"] == "ok"  # type: ignore[index]
    assert client.get("/health/ready").status_code == 200
    assert client.get("/drill").status_code == 200
    assert client.post("/drill/exception").status_code == 500
    assert client.get("/").status_code == 401


def test_routes_of_the_app_at_our_paths_take_precedence(foreign: Callable[..., Flask]) -> None:
    app = foreign(DRILL=True)
    for path in ("/health/live", "/drill"):
        app.add_url_rule(path, path, lambda: "the app's")
    client = app.test_client()
    assert client.get("/health/live").text == "the app's"
    assert client.get("/drill").text == "the app's"
    assert client.get("/health/ready").status_code == 200


def test_without_drill_there_are_no_drills(foreign: Callable[..., Flask]) -> None:
    assert foreign().test_client().post("/drill/exception").status_code == 404


# Logging


def test_handlers_levels_and_propagation_stay_as_they_are(foreign: Callable[..., Flask]) -> None:
    root, shop = logging.getLogger(), logging.getLogger("shop")
    handlers, level = list(root.handlers), shop.level
    foreign()
    assert root.handlers == handlers
    assert (shop.handlers, shop.level, shop.propagate) == ([], level, True)


def test_errors_are_reported_whatever_happens_to_the_root_logger(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    foreign()
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        root.handlers.clear()
        logging.getLogger("shop").error("still here")
    finally:
        root.handlers[:] = before
    assert [report.message for report in read_reports()] == ["still here"]


def test_a_500_is_reported_with_its_traceback_although_logging_is_shut_off(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    logging.disable(logging.CRITICAL)
    try:
        answer = app.test_client().get("/boom")
    finally:
        logging.disable(logging.NOTSET)
    (report,) = read_reports()
    assert (report.type, report.request_id) == ("RuntimeError", answer.headers["X-Request-ID"])


def test_our_loggers_are_enabled_again_and_the_apps_stay_disabled(
    foreign: Callable[..., Flask],
) -> None:
    app = foreign()
    # One call of dictConfig may disable them all, and the next enable the first alone.
    ours, theirs = logging.getLogger("flask_mayday.pages.error_pages"), logging.getLogger("shop")
    ours.disabled = theirs.disabled = True
    try:
        app.test_client().get("/")
        assert not ours.disabled
        assert theirs.disabled
    finally:
        ours.disabled = theirs.disabled = False


# Debugging and testing


def test_in_debug_mode_nothing_is_written(foreign: Callable[..., Flask], tmp_path: Path) -> None:
    app = foreign()
    app.debug = True
    app.add_url_rule("/boom", view_func=boom)
    with pytest.raises(RuntimeError):
        app.test_client().get("/boom")
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "spool").exists()


def test_in_tests_nothing_is_written_and_reports_can_be_captured(
    foreign: Callable[..., Flask], tmp_path: Path
) -> None:
    app = foreign(TESTING=True)
    app.add_url_rule("/boom", view_func=boom)
    with pytest.raises(RuntimeError):
        app.test_client().get("/boom")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with captured_reports(app) as reports:
        assert app.test_client().get("/boom").status_code == 500
    assert [report.type for report in reports] == ["RuntimeError"]
    assert app.test_client().get("/boom").status_code == 500
    assert len(reports) == 1
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "spool").exists()


# Several apps


def test_each_of_two_apps_gets_its_own_records(tmp_path: Path) -> None:
    mayday = Mayday()
    apps = []
    for name in ("shop", "forum"):
        folder = tmp_path / name
        app = Flask(name, root_path=str(folder), instance_path=str(folder))
        app.add_url_rule("/boom", view_func=boom)
        mayday.init_app(app)
        apps.append(app)
    for app in apps:
        app.test_client().get("/boom")
    with apps[1].app_context():
        logging.getLogger("anything").error("in the context of the forum")
    request_id.forget()
    logging.getLogger("anything").error("outside")
    texts = [(tmp_path / name / "logs" / f"{name}.log").read_text() for name in ("shop", "forum")]
    assert [text.count("RuntimeError: boom") for text in texts] == [1, 1]
    assert "outside" in texts[0]
    assert "in the context of the forum" in texts[1]
    assert "in the context of the forum" not in texts[0]
    for app in apps:
        app.extensions["mayday"].courier.stop(5)


def test_a_thousand_apps_leave_no_handler_no_thread_and_no_pipeline(tmp_path: Path) -> None:
    root = logging.getLogger()
    handlers, threads = len(root.handlers), threading.active_count()
    before = len(registry.pipelines())
    last: weakref.ref[Any] | None = None
    for number in range(1000):
        app = Flask(f"app{number}", root_path=str(tmp_path), instance_path=str(tmp_path))
        app.testing = True
        Mayday(app)
        app.test_client().get("/")
        last = weakref.ref(app.extensions["mayday"])
        del app
    request_id.forget()
    gc.collect()
    assert last is not None
    assert last() is None
    assert len(registry.pipelines()) == before
    assert len(root.handlers) == handlers
    assert threading.active_count() <= threads


def test_a_middleware_that_rewrites_the_path_does_not_change_the_one_in_the_report(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = foreign()
    app.add_url_rule("/boom", view_func=boom)
    inner = app.wsgi_app.app  # type: ignore[attr-defined]

    def without_prefix(environ: Any, start_response: Any) -> Any:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/shop", environ["PATH_INFO"][5:]
        return inner(environ, start_response)

    app.wsgi_app.app = without_prefix  # type: ignore[attr-defined]
    app.test_client().get("/shop/boom")
    (report,) = read_reports()
    assert report.request is not None
    assert (report.request["path"], report.request["route"]) == ("/shop/boom", "/boom")


def test_a_propagated_exception_ends_its_request(foreign: Callable[..., Flask]) -> None:
    app = foreign(PROPAGATE_EXCEPTIONS=True)
    app.add_url_rule("/boom", view_func=boom)
    table = in_flight.RequestTable(4)
    in_flight.use(table)
    try:
        with pytest.raises(RuntimeError):
            app.test_client().get("/boom")
        assert table.in_progress == {}
    finally:
        in_flight.use(None)
        table.close()


def test_a_patch_that_another_library_made_before_init_app_is_still_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for pipeline in registry.pipelines():
        registry.unregister(pipeline)
    original = logging.Logger.callHandlers

    def other(log: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        original(log, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", other)
    app = Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path))
    Mayday(app)
    logging.getLogger("shop").error("seen by both")
    registry.unregister(app.extensions["mayday"])
    assert logging.Logger.callHandlers is other
    assert seen == ["seen by both"]
    app.extensions["mayday"].courier.stop(5)


def test_captured_reports_are_those_that_before_report_leaves(
    foreign: Callable[..., Flask],
) -> None:
    mayday = Mayday()
    mayday.before_report(lambda report: None if "bot" in report.message else report)
    app = foreign(mayday, TESTING=True)
    with captured_reports(app) as reports, app.app_context():
        logging.getLogger("shop").error("a bot came by")
        logging.getLogger("shop").error("a customer came by")
    assert [report.message for report in reports] == ["a customer came by"]


def test_a_drill_that_this_app_cannot_do_says_why_and_is_no_error(
    foreign: Callable[..., Flask], read_reports: ReadReports
) -> None:
    answer = foreign(DRILL=True).test_client().post("/drill/database")
    assert answer.status_code == 501
    assert "needs Flask-SQLAlchemy" in answer.text
    assert read_reports() == []


def test_a_sender_with_a_name_is_understood(foreign: Callable[..., Flask]) -> None:
    app = foreign(MAIL_DEFAULT_SENDER="Shop <no-reply@shop.example>")
    assert app.extensions["mayday"].settings.mail.sender == "no-reply@shop.example"
