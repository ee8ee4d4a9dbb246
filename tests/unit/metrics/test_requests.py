"""Requests are counted by route and status, and never by what a client makes up."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, abort

from flask_mayday.metrics.instruments import instruments

from .conftest import STATUS_PORT, Scrape

MakeApp = Callable[..., Flask]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(METRICS=True, STATUS_PORT=STATUS_PORT)


def test_a_request_is_counted_by_route_and_status(app: Flask, scrape: Scrape) -> None:
    client = app.test_client()
    for _ in range(2):
        client.get("/login", buffered=True)
    client.post("/login", buffered=True)
    found = scrape(app)
    assert found['mayday_http_requests_total{method="GET",route="/login",status="200"}'] == 2
    assert found['mayday_http_requests_total{method="POST",route="/login",status="400"}'] == 1
    durations = 'mayday_http_request_duration_seconds_{}{{method="GET",route="/login"}}'
    assert found[durations.format("count")] == 2
    assert 0 < found[durations.format("sum")] < 60


def test_a_client_cannot_make_a_series(app: Flask, scrape: Scrape) -> None:
    client = app.test_client()
    for number in range(50):
        client.get(f"/there-is-no-{number}", buffered=True)
        client.get(f"/static/none-{number}.css", buffered=True)
        client.open("/", method=f"METHOD{number}", buffered=True)
    requests = {
        name: count
        for name, count in scrape(app).items()
        if name.startswith("mayday_http_requests_t")
    }
    assert requests == {
        'mayday_http_requests_total{method="GET",route="none",status="404"}': 50,
        'mayday_http_requests_total{method="GET",route="/static/<path:filename>",status="404"}': 50,
        'mayday_http_requests_total{method="other",route="none",status="405"}': 50,
    }


def test_errors_are_counted_too(app: Flask, scrape: Scrape) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/raises", view_func=lambda: 1 / 0, endpoint="raises")
    app.add_url_rule("/busy", view_func=lambda: abort(503), endpoint="busy")
    app.test_client().get("/raises", buffered=True)
    app.test_client().get("/busy", buffered=True)
    found = scrape(app)
    assert found['mayday_http_requests_total{method="GET",route="/raises",status="500"}'] == 1
    assert found['mayday_http_requests_total{method="GET",route="/busy",status="503"}'] == 1


def test_an_exception_that_goes_on_to_the_server_is_counted(app: Flask, scrape: Scrape) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/raises", view_func=lambda: 1 / 0, endpoint="raises")
    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/raises", buffered=True)
    found = scrape(app)
    assert found['mayday_http_requests_total{method="GET",route="/raises",status="500"}'] == 1
    assert found["mayday_http_requests_in_flight"] == 0


def test_a_request_is_in_flight_until_its_body_is_closed(app: Flask, scrape: Scrape) -> None:
    def body() -> Iterator[str]:
        yield "one"
        yield str(scrape(app)["mayday_http_requests_in_flight"])

    app.add_url_rule("/streams", view_func=body, endpoint="streams")
    assert app.test_client().get("/streams", buffered=True).text == "one1.0"
    found = scrape(app)
    assert found["mayday_http_requests_in_flight"] == 0
    assert found['mayday_http_requests_total{method="GET",route="/streams",status="200"}'] == 1


def test_health_checks_and_scrapes_are_not_counted(app: Flask, scrape: Scrape) -> None:
    app.test_client().get("/health/live", buffered=True)
    scrape(app)
    assert not [name for name in scrape(app) if name.startswith("mayday_http_requests_total")]


def test_a_host_header_does_not_make_a_request_a_scrape(app: Flask, scrape: Scrape) -> None:
    """gunicorn takes SERVER_PORT from the Host header if it listens on a Unix socket."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        app.test_client().get(
            "/login",
            base_url=f"http://web.inner:{STATUS_PORT}",
            environ_overrides={"gunicorn.socket": one},
            buffered=True,
        )
    found = scrape(app)
    assert found['mayday_http_requests_total{method="GET",route="/login",status="200"}'] == 1


def test_without_the_setting_nothing_is_wrapped_or_imported() -> None:
    script = (
        "import flask, sys; from flask_mayday import Mayday; app = flask.Flask('shop');"
        "Mayday(app); app.test_client().get('/');"
        "print('prometheus_client' in sys.modules, type(app.wsgi_app).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stdout.split() == ["False", "ErrorMiddleware"]


def test_metrics_that_cannot_be_counted_cost_nobody_the_page(
    app: Flask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(type(instruments().in_flight), "inc", fail)
    monkeypatch.setattr(type(instruments()), "count_request", fail)
    for _ in range(3):
        assert app.test_client().get("/login", buffered=True).status_code == 200
    assert capsys.readouterr().err.count("Metrics are incomplete: OSError") == 1
