"""The heartbeat: once a minute, without redirects, and never the cause of an error."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.settings import ConfigurationError, read_settings
from flask_mayday.watch.heartbeat import Heartbeat
from tests.support.web_server import WebServer

TOKEN = "0b9f4d2e-secret-token"


def test_the_heartbeat_is_sent_once_a_minute(server: WebServer) -> None:
    now = [0.0]
    heartbeat = Heartbeat(f"{server.url}/ping", clock=lambda: now[0])
    for second in range(0, 181, 5):
        now[0] = second
        heartbeat.beat()
    assert server.paths == ["/ping"] * 4


def test_a_redirect_is_not_followed_and_a_failure_shows_no_url(
    server: WebServer, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.status, server.headers = 302, {"Location": f"{server.url}/other"}
    Heartbeat(f"{server.url}/{TOKEN}").beat()
    assert server.paths == [f"/{TOKEN}"]
    Heartbeat(f"http://127.0.0.1:{free_port()}/{TOKEN}").beat()
    Heartbeat(f"http://no-such-host.invalid/{TOKEN}").beat()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "redirects are not followed" in caplog.text
    assert TOKEN not in caplog.text


def test_an_answer_without_an_end_does_not_stop_the_checks_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_mayday.watch.heartbeat.LONGEST", 0.1)
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while not ended.wait(0.02):
                connection.send(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        heartbeat = Heartbeat(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        beating = threading.Thread(target=heartbeat.beat, daemon=True)
        beating.start()
        beating.join(30)
        is_over = not beating.is_alive()
        ended.set()
    assert is_over


def test_the_url_is_a_secret_setting(pipeline_with: Callable[..., Pipeline]) -> None:
    url = f"https://ping.example/{TOKEN}"
    settings = read_settings({"HEARTBEAT_URL": url})
    assert TOKEN not in f"{settings} {settings!r}"
    pipeline = pipeline_with(HEARTBEAT_URL=url)
    assert TOKEN not in pipeline.redactor.bind(None).text(f"GET {url} and /{TOKEN}")


@pytest.mark.parametrize(
    "url",
    [
        *("ping.example/x", "ftp://x.example/", "https://", "https://a b/"),
        *("https://ping..example/x", "https://ping.example:0/x"),
    ],
)
def test_an_address_that_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        read_settings({"HEARTBEAT_URL": url})
    assert "HEARTBEAT_URL cannot be used" in str(failure.value)
    assert url not in str(failure.value).replace("https:// or", "")
