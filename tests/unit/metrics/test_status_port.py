"""Metrics are served on the status port, and nowhere else."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable

import pytest
from flask import Flask

from flask_mayday.settings import ConfigurationError, read_settings

from .conftest import STATUS_PORT

MakeApp = Callable[..., Flask]
STATUS_ADDRESS = f"http://web.inner:{STATUS_PORT}"


def test_metrics_are_not_served_on_the_other_port(make_app: MakeApp) -> None:
    app = make_app(METRICS=True, STATUS_PORT=STATUS_PORT)
    answer = app.test_client().get("/metrics", base_url="http://web:8000")
    assert answer.status_code == 404
    assert "mayday_" not in answer.text


def test_an_app_keeps_its_own_route_metrics_on_the_other_port(make_app: MakeApp) -> None:
    app = make_app(METRICS=True, STATUS_PORT=STATUS_PORT)
    app.add_url_rule("/metrics", view_func=lambda: "mine", endpoint="mine")
    client = app.test_client()
    assert client.get("/metrics", base_url="http://web:8000").text == "mine"
    assert client.get("/metrics", base_url=STATUS_ADDRESS).text.startswith("# HELP mayday_")


def test_metrics_are_not_served_unless_they_are_on(make_app: MakeApp) -> None:
    app = make_app(STATUS_PORT=STATUS_PORT)
    assert app.test_client().get("/metrics", base_url=STATUS_ADDRESS).status_code == 404


def test_a_host_header_does_not_open_the_status_port(make_app: MakeApp) -> None:
    """gunicorn takes SERVER_PORT from the Host header if it listens on a Unix socket."""
    app = make_app(METRICS=True, STATUS_PORT=STATUS_PORT)
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        environ = {"gunicorn.socket": one}
        client = app.test_client()
        answer = client.get("/metrics", base_url=STATUS_ADDRESS, environ_overrides=environ)
    assert answer.status_code == 404
    assert "X-Request-ID" in answer.headers
    assert "mayday_" not in answer.text


def test_prometheus_gets_openmetrics(make_app: MakeApp) -> None:
    app = make_app(METRICS=True, STATUS_PORT=STATUS_PORT)
    answer = app.test_client().get("/metrics", base_url=STATUS_ADDRESS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_a_missing_library_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"METRICS is '1'.*flask-mayday\[metrics\]"):
        read_settings({}, environ={"METRICS": "1"})


@pytest.mark.parametrize(
    "address", ["8002", "host:", "host:0", "host:65536", "host:" + "9" * 5000, "http://host:8002"]
)
def test_an_address_for_the_watch_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="WATCH_METRICS"):
        read_settings({}, environ={"WATCH_METRICS": address})


def test_the_address_for_the_watch_can_be_of_ip_version_6() -> None:
    settings = read_settings({}, environ={"WATCH_METRICS": "[::1]:8002"})
    assert settings.watch.metrics == ("::1", 8002)
