"""A report: what equal errors have in common, and what it keeps of one."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from flask_mayday.context import request_id
from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.report import report as report_module
from flask_mayday.report import traceback_text as trace
from flask_mayday.report.report import Report, from_record

SECRET = "the-secret-of-this-site"


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
    return from_record(record, Redactor([SECRET]))


def fingerprint(
    error: BaseException | None = None, message: object = "It failed", *arguments: object
) -> str:
    return reported(logged(error, message, *arguments)).fingerprint


def caused(cause: BaseException) -> ValueError:
    error = ValueError("boom")
    error.__cause__ = cause
    return error


def in_app(source: str, first_line: int = 1, folder: str = trace.APP_FOLDER) -> Any:
    """Compile a function ``fail`` that seems to stand in the app."""
    code: CodeType = compile("\n" * first_line + source, f"{folder}/blog/views.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    return names["fail"]


def failed(fail: Callable[[], object]) -> str:
    try:
        fail()
    except Exception as error:
        record = logging.LogRecord(
            "blog",
            logging.ERROR,
            __file__,
            1,
            "It failed",
            (),
            (type(error), error, error.__traceback__),
        )
        return reported(record).fingerprint
    raise AssertionError("nothing was raised")


# Fingerprints


def test_a_fingerprint_is_16_hex_digits() -> None:
    assert len(fingerprint(ValueError("boom"))) == 16
    int(fingerprint(ValueError("boom")), 16)


def test_a_fingerprint_does_not_move_with_the_lines_of_a_release() -> None:
    source = "def fail():\n    raise ValueError('boom')\n"
    assert failed(in_app(source, 1)) == failed(in_app("# new\n" + source, 70))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user 17 is gone", "user 4711 is gone"),
        (
            "request 56f21be313754a10b656f1315c9c57d0 failed",
            "request 68fd1c5a2fe9415a83160d7de9def2cf failed",
        ),
        (
            "object bd8173a6-32bc-4f00-97d4-d5f6611e8e9d failed",
            "object 34f21f71-26a4-4808-992a-f96629d380b2 failed",
        ),
        ("<View object at 0x7f3a11>", "<View object at 0x7f9bcd>"),
        ("no user 'susan'", "no user 'zoë'"),
        ('no user "susan"', 'no user ""'),
        ("susan@example.com cannot be reached", "a.b+c@example.org cannot be reached"),
        ("container 3f2a1b9c0d7e failed", "container 9c0d7e3f2a1b failed"),
        ("https://a.example/1?x=2 is away", "https://b.example/other is away"),
        ("no route to 2001:db8::1", "no route to 2001:db8:0:1::ffff"),
        ("Key (username)=(susan) already exists.", "Key (username)=(zoë) already exists."),
        ("connection to 10.0.0.1:5432 refused", "connection to 10.0.99.12:5433 refused"),
    ],
)
def test_what_varies_from_one_occurrence_to_the_next_is_left_out(one: str, other: str) -> None:
    assert fingerprint(ValueError(one)) == fingerprint(ValueError(other))
    assert fingerprint(None, one) == fingerprint(None, other)


def test_a_fingerprint_is_the_same_on_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    first = reported(logged(ValueError("boom")))
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    monkeypatch.setattr("os.getpid", lambda: 1)
    second = reported(logged(ValueError("boom")))
    assert first.host != second.host
    assert first.fingerprint == second.fingerprint


def test_a_fingerprint_does_not_depend_on_where_the_app_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = "def fail():\n    raise ValueError('boom')\n"
    here = failed(in_app(source))
    monkeypatch.setattr(trace, "APP_FOLDER", "/srv/elsewhere/app")
    assert failed(in_app(source, folder="/srv/elsewhere/app")) == here


def test_different_errors_have_different_fingerprints() -> None:
    raises = "def fail():\n    raise ValueError('boom')\n"
    through = "def fail():\n    between()\ndef between():\n    raise ValueError('boom')\n"
    found = [
        fingerprint(ValueError("boom")),
        fingerprint(TypeError("boom")),
        fingerprint(ValueError("crash")),
        fingerprint(caused(KeyError("a"))),
        fingerprint(caused(OSError("a"))),
        fingerprint(ExceptionGroup("boom", [KeyError("a")])),
        fingerprint(ExceptionGroup("boom", [OSError("a")])),
        fingerprint(None, "boom"),
        fingerprint(None, "crash"),
        failed(in_app(raises)),
        failed(in_app(through)),
    ]
    assert len(set(found)) == len(found)


def test_records_of_different_loggers_are_different_errors() -> None:
    one, other = logged(), logged()
    other.name = "another"
    assert reported(one).fingerprint != reported(other).fingerprint


def test_an_exception_may_add_a_text_of_its_own() -> None:
    def with_text(text: object) -> Exception:
        error = ValueError("boom 'x'")
        error.report_fingerprint = text  # type: ignore[attr-defined]
        return error

    assert fingerprint(with_text("a")) == fingerprint(with_text("a"))
    assert fingerprint(with_text("a")) != fingerprint(with_text("b"))
    assert fingerprint(with_text("a")) != fingerprint(ValueError("boom 'x'"))


def test_an_endless_recursion_is_one_error_however_deep_it_began() -> None:
    deep = "def fail(depth=0):\n    return fail(depth + 1)\n"
    direct = in_app(deep)

    def deeper() -> object:
        return (lambda: (lambda: direct())())()

    assert failed(direct) == failed(deeper)


# What a report holds


class UnprintableError(Exception):
    """An exception that cannot be turned into a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_is_reported_all_the_same() -> None:
    report = reported(logged(UnprintableError()))
    assert report.type == "UnprintableError"
    assert "RuntimeError" in report.message
    assert "UnprintableError" in report.traceback


def test_a_record_whose_arguments_do_not_fit_is_reported_all_the_same() -> None:
    report = reported(logged(None, "%d users", "many"))
    assert "%d users" in report.message
    assert "many" in report.message


@pytest.mark.parametrize("piece", ["x", "x ", "'", "a.", "x@", "9", "\n", "é", "\udce9"])
def test_a_huge_message_is_cut_and_takes_no_time(piece: str) -> None:
    error = ValueError(piece * (3_000_000 // len(piece)))
    record = logged(error)
    started = time.process_time()
    report = reported(record)
    assert time.process_time() - started < 3
    assert len(report.message) <= report_module.MESSAGE_MAXIMUM + 100
    assert len(report.traceback) <= report_module.TRACEBACK_MAXIMUM + 100


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    report = reported(logged(ValueError("x" * 300_000 + " the end")))
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert report.traceback.endswith("the end")
    assert "characters left out" in report.traceback


def test_the_cause_of_an_exception_is_in_its_traceback() -> None:
    error = ValueError("the effect")
    error.__cause__ = KeyError("the cause")
    assert "the cause" in reported(logged(error)).traceback


def test_a_report_tells_of_the_request_that_its_thread_serves() -> None:
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
    environ["flask_mayday.route"] = "/user/{username}"
    identifier = request_id.begin(environ, trusted=False)
    report = reported(logged(ValueError("boom")))
    assert report.request_id == identifier
    assert report.where == "at POST /user/{username}"
    request: dict[str, Any] = report.request or {}
    assert (request["method"], request["path"]) == ("POST", "/user/susan")
    assert request["query"] == {"page": "2", "token": MASK}
    assert request["headers"]["Host"] == "blog.example"
    text = report.to_json()
    assert "abcdef" not in text
    assert SECRET not in text


def test_a_report_outside_a_request_names_the_logger() -> None:
    report = reported(logged(None, "Worker (pid:%s) was sent %s!", 7, "SIGKILL"))
    assert (report.where, report.request, report.request_id) == ("in blog", None, None)
    assert (report.type, report.message) == ("Error", "Worker (pid:7) was sent SIGKILL!")


def test_no_secret_is_in_a_report() -> None:
    report = reported(logged(ValueError(f"cannot log in with {SECRET}")))
    assert SECRET not in report.to_json()
    assert report.message == f"cannot log in with {MASK}"


# On the way through the spool


def test_a_report_comes_back_as_it_was() -> None:
    request_id.begin(EnvironBuilder("/").get_environ(), trusted=False)
    report = reported(logged(ValueError("Zoë \udce9 \u2028 🙂 \x00")))
    assert Report.from_json(report.to_json()) == report


def test_a_report_of_a_later_version_is_read_without_what_is_unknown() -> None:
    report = reported(logged(ValueError("boom")))
    later = json.dumps({**json.loads(report.to_json()), "colour": "red"})
    assert Report.from_json(later) == report


@pytest.mark.parametrize("number", ["1e345", "-1e345", "NaN"])
def test_a_report_whose_numbers_are_none_has_a_zero_there(number: str) -> None:
    report = Report.from_json(f'{{"uuid": "u", "process": {number}, "time": {number}}}')
    assert (report.process, report.time) == (0, 0.0)


def test_a_report_of_an_earlier_version_has_empty_fields() -> None:
    report = Report.from_json('{"uuid": "u", "message": "boom"}')
    assert (report.uuid, report.message, report.type, report.time) == ("u", "boom", "", 0.0)
    assert report.request is None
