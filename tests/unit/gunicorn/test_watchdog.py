"""The report of a hung request: its message, its user and its group."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask, request

from flask_mayday.context.in_flight import RequestInProgress
from flask_mayday.context.record_fields import GROUP, STACK, environ_of
from flask_mayday.context.request_id import USER_KEY
from flask_mayday.gunicorn import watchdog


@pytest.mark.parametrize("user", ["7", None])
def test_a_hung_request_is_reported_with_the_user_of_its_session(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, user: str | None
) -> None:
    app = make_app()
    hung, over = threading.Event(), threading.Event()
    environs = []

    @app.route("/hangs/<name>")
    def hang(name: str) -> str:
        environs.append(request.environ)
        hung.set()
        over.wait(60)
        return name

    client = app.test_client()
    if user is not None:
        with client.session_transaction() as opened:
            opened["_user_id"] = user
    thread = threading.Thread(target=client.get, args=("/hangs/\u0142ukasz",))
    thread.start()
    assert hung.wait(60)
    assert thread.ident is not None
    in_progress = RequestInProgress(0, thread.ident, time.monotonic() - 30, environs[0])
    watchdog.report(in_progress, 30)
    reported_user = environs[0].get(USER_KEY)  # before the end of the request stores it too
    over.set()
    thread.join(60)
    (record,) = (one for one in caplog.records if one.levelno == logging.ERROR)
    assert record.getMessage() == "Request timed out after 30 s"
    assert environ_of(record) is environs[0]
    assert reported_user == (user or "nobody")
    assert getattr(record, GROUP) == "timed out: GET /hangs/<name>"
    assert getattr(record, STACK).startswith("Stack of GET /hangs/\u0142ukasz:\n")
