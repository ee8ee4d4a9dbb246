"""What counts as an answer of the site, and what is reported if there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flask_mayday.settings import WatchSettings
from flask_mayday.watch import site as site_module
from flask_mayday.watch.fetching import Response
from flask_mayday.watch.site import Site
from tests.support.web_server import WebServer


def make(url: str | None = None, ready: str | None = None) -> Site:
    return Site(WatchSettings(site_url=url, ready_url=ready))


@pytest.mark.parametrize(("status", "trouble"), [(200, ""), (302, ""), (404, ""), (429, "")])
def test_any_status_below_500_counts_as_an_answer(
    server: WebServer, status: int, trouble: str
) -> None:
    server.status, server.headers = status, {"Location": "/elsewhere"}
    assert make(server.url).check(1.0).trouble == trouble
    assert server.paths == ["/health/live"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_does_not_count_as_an_answer(server: WebServer, status: int) -> None:
    server.status = status
    assert make(server.url).check(1.0).trouble.startswith(f"{status} ")


def test_a_path_in_the_setting_is_requested_unchanged(server: WebServer) -> None:
    make(f"{server.url}/status?full=1").check(1.0)
    assert server.paths == ["/status?full=1"]


def test_a_refused_connection_and_a_hang_do_not_count_as_answers(
    server: WebServer, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    refused = make(f"http://127.0.0.1:{free_port()}").check(1.0)
    assert refused.trouble == "127.0.0.1: the connection was refused"
    monkeypatch.setattr(site_module, "TIMEOUT", 0.1)
    server.hangs.clear()
    assert make(server.url).check(1.0).trouble.startswith("127.0.0.1: no answer within")


def test_an_app_without_its_database_does_not_count_as_ready(server: WebServer) -> None:
    server.body = {"status": "unavailable", "database": "OperationalError"}
    server.status = 503
    check = make(None, f"{server.url}/health/ready").check(1.0)
    assert "503 Service Unavailable from 127.0.0.1" in check.trouble
    assert "the database is unavailable (OperationalError)" in check.trouble


def replies(answers: dict[str, Response | Exception]) -> Callable[..., Response]:
    def fetch(url: str, timeout: float, **more: Any) -> Response:
        found = answers[more.get("address") or url]
        if isinstance(found, Exception):
            raise found
        return found

    return fetch


READY = Response(200, json.dumps({"status": "ok", "database": "ok"}).encode())
DOWN = Response(503, b"{}")


@pytest.mark.parametrize(
    ("first", "second", "is_well"),
    [(READY, DOWN, True), (DOWN, READY, True), (DOWN, TimeoutError(), False)],
)
def test_one_container_that_is_ready_is_enough(
    first: Response, second: Response | Exception, is_well: bool
) -> None:
    settings = WatchSettings(ready_url="http://web:8000/health/ready")
    fetch = replies({"10.0.0.1": first, "10.0.0.2": second})
    site = Site(settings, fetch, lambda _: ["10.0.0.1", "10.0.0.2"])
    assert (site.check(1.0).trouble == "") == is_well


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 4096])
def test_an_answer_that_is_no_object_is_still_an_answer(body: bytes) -> None:
    settings = WatchSettings(ready_url="http://web:8000/health/ready")
    site = Site(settings, replies({"10.0.0.1": Response(200, body)}), lambda _: ["10.0.0.1"])
    assert site.check(1.0).trouble == ""


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(ConnectionRefusedError(), ""), (TimeoutError(), "web: no answer within 6 s")],
)
def test_a_container_that_refuses_is_no_problem_while_the_site_answers(
    error: Exception, trouble: str
) -> None:
    settings = WatchSettings(site_url="http://nginx", ready_url="http://web:8000/health/ready")
    fetch = replies({"http://nginx/health/live": Response(200, b""), "10.0.0.1": error})
    site = Site(settings, fetch, lambda _: ["10.0.0.1"])
    assert site.check(1.0).trouble == trouble
    alone = WatchSettings(ready_url="http://web:8000/health/ready")
    assert Site(alone, fetch, lambda _: ["10.0.0.1"]).check(1.0).trouble != ""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (TimeoutError(), "web does not answer either: no answer within 2 s. It is paused or hung."),
        (
            ConnectionRefusedError(),
            "web does not answer either: the connection was refused. "
            "It is starting, or it fails to start.",
        ),
        (READY, ""),
    ],
)
def test_the_diagnosis_says_what_the_containers_do(reply: Response | Exception, words: str) -> None:
    settings = WatchSettings(ready_url="http://web:8000/health/ready")
    assert Site(settings, replies({"10.0.0.1": reply}), lambda _: ["10.0.0.1"]).diagnose() == words


def test_the_diagnosis_says_that_no_container_runs() -> None:
    def resolve(url: str) -> list[str]:
        raise OSError(url)

    site = Site(WatchSettings(ready_url="http://web.inner:8001/x"), replies({}), resolve)
    assert site.diagnose() == "No container of web is running: its name does not resolve."
