"""The request id: who may choose it, what it looks like, how long it lasts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from flask import Flask

from flask_mayday.context import request_id

SENT = "0123456789abcdef0123456789abcdef"


def id_of(app: Flask, sent: str | None) -> str:
    headers = {} if sent is None else {"X-Request-ID": sent}
    (answered,) = app.test_client().get("/", headers=headers).headers.getlist("X-Request-ID")
    return str(answered)


def test_every_response_has_an_id_of_its_own(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    first, second = id_of(app, None), id_of(app, None)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


def test_an_id_is_taken_from_a_trusted_proxy(make_app: Callable[..., Flask]) -> None:
    assert id_of(make_app(TRUSTED_PROXIES=1), SENT) == SENT


def test_an_id_is_not_taken_from_a_client(make_app: Callable[..., Flask]) -> None:
    assert id_of(make_app(), SENT) != SENT


@pytest.mark.parametrize(
    "sent",
    [
        SENT.upper(),
        SENT + "0",
        SENT[:-1],
        f"{SENT} ",
        "",
        "-",
        f"{SENT},{SENT}",
        "é" * 32,
        "٣" * 32,
    ],
)
def test_an_id_of_another_format_is_refused_even_from_a_proxy(
    make_app: Callable[..., Flask], sent: str
) -> None:
    assert re.fullmatch("[0-9a-f]{32}", answered := id_of(make_app(TRUSTED_PROXIES=1), sent))
    assert answered != sent


def test_a_view_cannot_send_a_second_id(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/two", view_func=lambda: ("", 200, {"x-request-id": "another"}))
    answer = app.test_client().get("/two")
    assert len(answer.headers.getlist("X-Request-ID")) == 1
    assert answer.headers["X-Request-ID"] != "another"


def test_a_thread_does_not_see_the_request_of_another() -> None:
    seen: list[str | None] = []
    begun = threading.Event()

    def look() -> None:
        begun.wait(60)
        seen.append(request_id.current())

    thread = threading.Thread(target=look)
    thread.start()
    request_id.begin({}, trusted=False)
    begun.set()
    thread.join()
    assert seen == [None]


def test_a_thread_can_forget_its_request() -> None:
    assert request_id.begin({}, trusted=False) == request_id.current()
    request_id.forget()
    assert request_id.current() is None
    assert request_id.current_environ() is None
