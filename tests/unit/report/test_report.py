"""A report: its content, and its way through the spool."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from flask_mayday.context import request_id, trace_context
from flask_mayday.context.record_fields import CONTEXT, INTERRUPTED, REQUESTS, STACK
from flask_mayday.mail.content import report_content
from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.report.builder import MESSAGE_LENGTH, TRACEBACK_LENGTH, ReportBuilder
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report
from flask_mayday.report.request import ROUTE
from flask_mayday.report.size_limit import MAX_REPORT_BYTES, limited_json
from flask_mayday.report.traceback_text import render_traceback
from flask_mayday.settings import AppSettings

SECRET = "the-secret-of-this-site"
BUILDER = ReportBuilder(Redactor([SECRET]), OwnCode("/nowhere"), "shop", "staging", "1.4.2")


def logged(
    error: BaseException | None = None, message: object = "It failed", *arguments: object
) -> logging.LogRecord:
    exc_info = None
    if error is not None:
        try:
            raise error
        except BaseException:
            exc_info = sys.exc_info()
    return logging.LogRecord("blog", logging.ERROR, __file__, 1, message, arguments, exc_info)


def reported(record: logging.LogRecord) -> Report:
    return BUILDER.build(record)


class UnprintableError(Exception):
    """An exception whose ``__str__`` fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_is_still_reported() -> None:
    report = reported(logged(UnprintableError()))
    assert report.type == "UnprintableError"
    assert "RuntimeError" in report.message
    assert "UnprintableError" in report.traceback


def test_a_record_whose_arguments_do_not_fit_is_still_reported() -> None:
    report = reported(logged(None, "%d users", "many"))
    assert "%d users" in report.message
    assert "many" in report.message


@pytest.mark.parametrize("piece", ["x", "x ", "'", "a.", "x@", "9", "\n", "é", "\udce9"])
def test_a_huge_message_is_cut_quickly(piece: str) -> None:
    error = ValueError(piece * (3_000_000 // len(piece)))
    record = logged(error)
    started = time.thread_time()
    report = reported(record)
    assert time.thread_time() - started < 1
    assert len(report.message) <= MESSAGE_LENGTH + 100
    assert len(report.traceback) <= TRACEBACK_LENGTH + 100


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    report = reported(logged(ValueError("x" * 300_000 + " the end")))
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert report.traceback.endswith("the end")
    assert "characters left out" in report.traceback


def test_the_cause_of_an_exception_is_in_its_traceback() -> None:
    error = ValueError("the effect")
    error.__cause__ = KeyError("the cause")
    assert "the cause" in reported(logged(error)).traceback


def test_a_report_has_the_request_of_its_thread() -> None:
    builder = EnvironBuilder(
        "/user/susan?page=2&token=abcdef",
        method="POST",
        headers={
            "Host": "blog.example",
            "Cookie": "session=abcdefgh",
            "Authorization": "Bearer abcdefgh",
            "Referer": f"https://blog.example/?api_key=abcdefgh&x={SECRET}",
        },
    )
    environ = builder.get_environ()
    environ[ROUTE] = "/user/<username>"
    identifier = request_id.begin(environ, trusted=False)
    report = reported(logged(ValueError("boom")))
    assert report.request_id == identifier
    assert report.where == "at POST /user/<username>"
    request: dict[str, Any] = report.request or {}
    assert (request["method"], request["path"]) == ("POST", "/user/susan")
    assert request["query"] == {"page": "2", "token": MASK}
    assert request["headers"]["Host"] == "blog.example"
    text = report.to_json()
    assert "abcdef" not in text
    assert SECRET not in text


def test_a_report_and_its_mail_name_the_trace_of_the_request() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    environ = EnvironBuilder("/").get_environ()
    environ["HTTP_TRACEPARENT"] = f"00-{trace}-00f067aa0ba902b7-01"
    request_id.begin(environ, trusted=True)
    trace_context.begin(environ, trusted=True)
    report = reported(logged(ValueError("boom")))
    assert report.request is not None
    assert report.request["trace"] == trace
    rows = (
        report_content(report, AppSettings("shop", "staging", "1.4.2", ()), None).sections[0].rows
    )  # type: ignore[union-attr]
    assert ("Trace id", trace) in rows


def test_a_report_outside_a_request_names_the_logger() -> None:
    report = reported(logged(None, "Worker (pid:%s) was sent %s!", 7, "SIGKILL"))
    assert (report.where, report.request, report.request_id) == ("in blog", None, None)
    assert (report.type, report.message) == ("Error", "Worker (pid:7) was sent SIGKILL!")


def test_no_secret_is_in_a_report() -> None:
    report = reported(logged(ValueError(f"cannot log in with {SECRET}")))
    assert SECRET not in report.to_json()
    assert report.message == f"cannot log in with {MASK}"


def test_a_report_names_the_app_the_environment_and_the_release() -> None:
    report = reported(logged(ValueError("boom")))
    assert (report.app, report.environment, report.release) == ("shop", "staging", "1.4.2")


def test_the_user_that_the_extension_has_noted_is_in_the_report() -> None:
    environ = EnvironBuilder("/").get_environ()
    environ[request_id.USER_KEY] = 17
    request_id.begin(environ, trusted=False)
    report = reported(logged(ValueError("boom")))
    assert report.user == "17"
    environ[request_id.USER_KEY] = SECRET
    assert BUILDER.repeat(logged(ValueError("boom")), report).user == MASK


def test_the_values_passed_to_capture_are_in_the_report_redacted() -> None:
    record = logged(ValueError("boom"))
    setattr(record, CONTEXT, {"order": 7, "api_key": "abc", "note": f"with {SECRET}"})
    assert reported(record).context == {"order": 7, "api_key": MASK, "note": f"with {MASK}"}


@pytest.mark.parametrize("context", [7, [1], {"a": object()}])
def test_an_unusable_context_does_not_affect_the_report(context: object) -> None:
    record = logged(ValueError("boom"))
    setattr(record, CONTEXT, context)
    report = reported(record)
    assert report.message == "boom"
    assert report.context is not None


def test_interrupted_requests_are_data_and_text_for_versions_that_do_not_know_them() -> None:
    record = logged(None, "Worker 7 was killed")
    request = {"request_id": "f" * 32, "method": "GET", "path": "/slow", "state": INTERRUPTED}
    setattr(record, REQUESTS, [request])
    setattr(record, STACK, "Thread 1:\n  File x")
    report = Report.from_json(reported(record).to_json())
    assert report.requests == (request,)
    assert report.stack == "Thread 1:\n  File x"
    assert f"  GET /slow [request {'f' * 32}]" in report.traceback
    assert report.traceback.endswith(report.stack)
    assert report.interrupted("f" * 32)
    assert not report.interrupted("e" * 32)
    old = Report.from_json(json.dumps({"traceback": f"It served:\n  GET / [request {'e' * 32}]"}))
    assert old.interrupted("e" * 32)


def test_earlier_versions_find_the_traceback_as_text() -> None:
    report = reported(logged(ValueError("boom")))
    stored = json.loads(report.to_json())
    assert stored["traceback"] == render_traceback(report.exceptions)
    assert stored["exceptions"][0]["text"] == "ValueError: boom"


def test_a_repetition_refers_to_the_traceback_and_gets_it_back() -> None:
    whole = reported(logged(ValueError("boom")))
    repeated = BUILDER.repeat(logged(ValueError("boom")), whole)
    assert (repeated.like, repeated.exceptions) == (whole.uuid, ())
    assert repeated.with_traceback_of(whole).exceptions == whole.exceptions


def test_a_huge_report_is_cut_to_its_limit_and_keeps_the_error() -> None:
    members = [ValueError("\udce9" * 8000) for _ in range(9)]
    record = logged(ExceptionGroup("the group", members))
    setattr(record, CONTEXT, {f"key {n}": "\udce9" * 3000 for n in range(50)})
    setattr(record, STACK, "\udce9" * 100_000)
    stored = limited_json(reported(record))
    assert len(stored) <= MAX_REPORT_BYTES
    report = Report.from_json(stored)
    assert report.exceptions[0].text.startswith("ExceptionGroup: the group")
    assert len(report.exceptions) == 10
    assert "characters left out" in report.stack


# Through the spool


def test_a_report_is_read_back_unchanged() -> None:
    request_id.begin(EnvironBuilder("/").get_environ(), trusted=False)
    report = reported(logged(ValueError("Zoë \udce9 \u2028 🙂 \x00")))
    assert Report.from_json(report.to_json()) == report


def test_a_report_of_a_later_version_is_read_without_unknown_fields() -> None:
    report = reported(logged(ValueError("boom")))
    later = json.dumps({**json.loads(report.to_json()), "colour": "red"})
    assert Report.from_json(later) == report


@pytest.mark.parametrize("number", ["1e345", "-1e345", "NaN"])
def test_invalid_numbers_in_a_report_are_read_as_zero(number: str) -> None:
    report = Report.from_json(f'{{"uuid": "u", "process": {number}, "time": {number}}}')
    assert (report.process, report.time) == (0, 0.0)


@pytest.mark.parametrize("value", [7, "x", [7], [{"frames": 7, "notes": "x", "depth": -1}], {}])
def test_unexpected_exceptions_and_requests_are_read_as_far_as_possible(
    value: object,
) -> None:
    report = Report.from_json(json.dumps({"exceptions": value, "requests": value, "context": 7}))
    assert render_traceback(report.exceptions).strip() == ""
    assert report.context is None


def test_a_report_of_an_earlier_version_has_empty_fields() -> None:
    report = Report.from_json('{"uuid": "u", "message": "boom"}')
    assert (report.uuid, report.message, report.type, report.time) == ("u", "boom", "", 0.0)
    assert report.request is None


@pytest.mark.parametrize(
    "text",
    ['{"time": 1' + "0" * 400 + "}", '{"process": 1' + "0" * 400 + "}", '{"a":' * 100_000],
    ids=["time", "process", "levels"],
)
def test_json_with_too_large_a_number_or_too_many_levels_is_no_report(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text
        Report.from_json(text)


def test_null_is_read_as_an_empty_text() -> None:
    exceptions = [{"text": None, "frames": [{"file": None, "function": None}]}]
    report = Report.from_json(json.dumps({"message": None, "exceptions": exceptions}))
    assert report.message == ""
    assert "None" not in render_traceback(report.exceptions)


def test_a_repetition_has_its_own_requests() -> None:
    record = logged(None, "Worker 7 was killed")
    setattr(record, REQUESTS, [{"request_id": "a" * 32}])
    whole = reported(record)
    another = logged(None, "Worker 7 was killed")
    setattr(another, REQUESTS, [{"request_id": "b" * 32}])
    assert BUILDER.repeat(another, whole).requests == ({"request_id": "b" * 32},)
    assert BUILDER.repeat(logged(None), whole).requests == ()


def test_a_forked_process_gives_its_reports_ids_of_its_own(
    in_child: Callable[[Callable[[], object]], int], tmp_path: Path
) -> None:
    made = tmp_path / "uuid"
    assert in_child(lambda: made.write_text(BUILDER.build(logged()).uuid)) == 0
    assert made.read_text() != BUILDER.build(logged()).uuid
