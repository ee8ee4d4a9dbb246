"""The text of an exception: bounded in time, and the same as str() where that is quick."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, request

from flask_mayday.context import error_text
from flask_mayday.context.error_text import chain_of
from flask_mayday.context.record_fields import message_of
from flask_mayday.report.report import Report

over = threading.Event()


@pytest.fixture(autouse=True)
def end_slow_texts() -> Iterator[None]:
    over.clear()
    yield
    over.set()
    for thread in threading.enumerate():
        if thread.name == "exception text":
            thread.join()


class SlowError(Exception):
    def __str__(self) -> str:
        over.wait(60)
        return "late"


class OfTheRequestError(Exception):
    def __str__(self) -> str:
        return f"in {request.path}"


@pytest.mark.parametrize("place", ["argument", "cause", "value"])
def test_a_slow_exception_delays_a_record_only_shortly_wherever_it_is(place: str) -> None:
    slow = ValueError(SlowError()) if place == "value" else SlowError()
    error: BaseException = ValueError("quick")
    if place != "argument":
        error.__cause__ = slow
    record = logging.makeLogRecord({"msg": "It failed: %s", "args": (slow,)})
    begun = time.monotonic()
    assert message_of(record) == f"It failed: {error_text.TOO_SLOW}"
    text = error_text.traceback_if_slow(error)
    assert time.monotonic() - begun < 30
    assert ("ValueError: quick" in text) == (place != "argument")


def test_a_text_may_depend_on_the_request(
    make_app: Callable[..., Flask],
    read_reports: Callable[[], list[Report]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(error_text, "SECONDS", 60)
    app = make_app()

    @app.get("/here")
    def here() -> str:
        raise OfTheRequestError

    app.test_client().get("/here")
    assert [report.message for report in read_reports()] == ["in /here"]


def test_the_report_is_made_before_another_handler_waits_for_the_text(
    make_app: Callable[..., Flask],
    read_reports: Callable[[], list[Report]],
    wait_until: Callable[..., object],
) -> None:
    app = make_app()

    @app.get("/slow")
    def slow() -> str:
        raise SlowError

    client = threading.Thread(target=app.test_client().get, args=("/slow",))
    client.start()
    wait_until(read_reports, "the report")
    assert client.is_alive()  # pytest's own handler formats the traceback
    over.set()
    client.join()
    (report,) = read_reports()
    assert (report.type, report.message) == ("SlowError", error_text.TOO_SLOW)
    assert "raise SlowError" in report.traceback


def test_no_more_than_a_few_threads_run_slow_texts() -> None:
    begun = time.monotonic()
    assert all(error_text.is_slow(SlowError()) for _ in range(40))
    assert time.monotonic() - begun < error_text.THREADS * error_text.SECONDS + 12


def test_a_text_that_was_not_tried_is_tried_when_the_slow_ones_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(error_text, "SECONDS", 0.01)
    while error_text.message_of_error(SlowError()) != error_text.TOO_MANY:
        pass
    error = SlowError()
    assert error_text.message_of_error(error) == error_text.TOO_MANY
    over.set()
    for thread in threading.enumerate():
        if thread.name == "exception text":
            thread.join()
    monkeypatch.setattr(error_text, "SECONDS", 60)
    assert error_text.message_of_error(error) == "late"


def test_a_cause_that_is_false_is_part_of_the_chain() -> None:
    class FalseError(Exception):
        def __bool__(self) -> bool:
            return False

    error, cause = ValueError("boom"), FalseError("cause")
    error.__cause__, error.__context__ = cause, KeyError("context")
    assert list(chain_of(error)) == [error, cause]
