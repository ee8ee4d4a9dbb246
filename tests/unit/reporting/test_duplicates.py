"""Identical errors in quick succession: one full report a second, short ones in between."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import pytest
from flask import Flask

from flask_mayday.context import request_id
from flask_mayday.context.record_fields import STACK
from flask_mayday.report.report import Report
from flask_mayday.reporting import duplicates as repeats
from flask_mayday.reporting.duplicates import Signature, signature_of

ReadReports = Callable[[], list[Report]]


class Weird(Exception):  # noqa: N818 - it is what it is called
    def __str__(self) -> str:
        raise SystemExit


def fail(message: object = "boom", *, line: int = 0) -> None:
    if line:
        raise ValueError(message)
    raise ValueError(message)


def log(action: Callable[[], None], logger: str = "blog") -> None:
    try:
        action()
    except BaseException:
        logging.getLogger(logger).exception("It failed")


@pytest.fixture(autouse=True)
def long_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow machine make two errors in a row differ."""
    monkeypatch.setattr(repeats, "INTERVAL", 3600.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the seconds that have gone by."""
    now = [1000.0]
    monkeypatch.setattr(repeats, "INTERVAL", 1.0)
    monkeypatch.setattr(repeats.time, "monotonic", lambda: now[0])

    def set_to(seconds: float) -> None:
        now[0] = 1000.0 + seconds

    return set_to


def briefly(reports: list[Report]) -> list[bool]:
    return [bool(report.like) for report in reports]


def test_one_of_the_identical_errors_of_a_second_is_recorded_in_full(
    make_app: Callable[..., Flask], read_reports: ReadReports, clock: Callable[[float], None]
) -> None:
    make_app()
    for moment in (0, 0.1, 0.9, 1.0, 1.1):
        clock(moment)
        log(fail)
    reports = read_reports()
    assert briefly(reports) == [False, True, True, False, True]
    assert [report.like for report in reports if report.like] == [
        reports[0].uuid,
        reports[0].uuid,
        reports[3].uuid,
    ]
    assert len({report.uuid for report in reports}) == 5


def test_a_short_report_has_everything_that_identical_errors_have_in_common(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    for _ in range(2):
        log(fail)
    whole, repeat = read_reports()
    for name in ("fingerprint", "type", "message", "where", "place", "level", "logger"):
        assert getattr(whole, name) == getattr(repeat, name)
    assert "Traceback" in whole.traceback
    assert whole.uuid in repeat.traceback
    assert repeat.time > whole.time


def test_a_short_report_shows_its_own_request_and_masks_its_own_secrets(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = make_app(DRILL=True)
    for number in (1, 2):
        app.test_client().post(
            f"/drill/exception?token=secret-{number}-of-mine",
            data={"message": "the same", "password": f"secret-{number}-of-mine"},
            headers={"X-Forwarded-For": "10.0.0.9", "Cookie": f"a=secret-{number}-of-mine"},
        )
    whole, repeat = read_reports()
    assert repeat.like == whole.uuid
    assert repeat.request_id != whole.request_id
    assert repeat.request is not None
    assert repeat.request["path"] == "/drill/exception"
    assert repeat.request["client"] == "127.0.0.1"
    assert "secret-" not in repeat.to_json()
    assert "headers" not in repeat.request


@pytest.mark.parametrize(
    "other",
    [
        lambda: fail("another message"),
        lambda: fail(line=1),
        lambda: log_as_critical(),
    ],
    ids=["message", "line", "level"],
)
def test_a_different_error_is_recorded_in_full(
    make_app: Callable[..., Flask], read_reports: ReadReports, other: Callable[[], None]
) -> None:
    make_app()
    log(fail)
    log(other)
    assert briefly(read_reports())[0:2] == [False, False]


def log_as_critical() -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger("blog").critical("It failed", exc_info=True)


def test_an_error_with_another_cause_is_recorded_in_full(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    causes = [KeyError("a"), KeyError("b"), KeyError("b")]

    for cause in causes:
        log(lambda cause=cause: exec("raise ValueError('boom') from cause", {"cause": cause}))
    # Each exec compiles its code anew, so equal code is not recognised as the same.
    assert briefly(read_reports()) == [False, False, False]


def test_records_without_an_exception_are_identical_by_place_and_message(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    for message in ("one", "one", "two"):
        logging.getLogger("blog").error("It is %s", message)
    assert briefly(read_reports()) == [False, True, False]


def test_an_error_that_cannot_be_compared_is_recorded_in_full(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()

    def weird() -> None:
        raise Weird

    def grouped() -> None:
        raise ExceptionGroup("group", [ValueError("a")])

    def long() -> None:
        raise ValueError("xy" * (repeats.MAX_TEXT // 2 + 1))

    for action in (grouped, long):
        log(action)
        log(action)
    for _ in range(2):
        logging.getLogger("blog").error("hangs", extra={STACK: "a stack"})
    assert briefly(read_reports()) == [False] * 6
    record = logging.LogRecord("blog", logging.ERROR, __file__, 1, "x", (), None)
    try:
        weird()
    except Weird:
        record.exc_info = sys.exc_info()
    with pytest.raises(SystemExit):
        str(record.exc_info[1])  # type: ignore[index]
    assert repeats.signature_of(record) is None


def test_no_report_refers_to_one_that_was_not_written(
    make_app: Callable[..., Flask],
    read_reports: ReadReports,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
) -> None:
    app = make_app()
    outbox = app.extensions["mayday"].courier.outbox

    def refuse(row: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "_append", refuse)
        log(fail)
    log(fail)
    log(fail)
    reports = read_reports()
    assert sorted(briefly(reports)) == [False, False, True]


def test_the_number_of_remembered_errors_is_bounded() -> None:
    remembered = repeats.DuplicateFilter()
    empty = dict.fromkeys(Report.__slots__, "")
    for number in range(10_000):
        signature = repeats.Signature(number, ())
        remembered.remember(signature, Report(**empty))  # type: ignore[arg-type]
    assert len(remembered._recorded) <= repeats.MAX_REMEMBERED


def test_a_short_report_has_no_log_lines_of_an_earlier_request(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    for number in (1, 2):
        request_id.begin({"REQUEST_METHOD": "GET"}, trusted=False)
        logging.getLogger("blog").warning("Request %d is about to fail", number)
        log(fail)
    whole, repeat = read_reports()
    assert "Request 1 is about to fail" in whole.earlier[0]
    assert repeat.like == whole.uuid
    assert repeat.earlier == []


def test_a_short_report_has_nothing_of_an_earlier_request(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    app = make_app(DRILL=True)
    app.test_client().post(
        "/drill/exception", data={"message": "same", "about": "only mine"}, headers={"X-A": "mine"}
    )
    request_id.forget()
    app.test_client().post("/drill/exception", data={"message": "same"})
    _, repeat = read_reports()
    assert repeat.like
    assert "mine" not in repeat.to_json()


class FalseError(Exception):
    """An exception that is false, as one with a length of 0 is."""

    def __bool__(self) -> bool:
        return False


def test_a_cause_that_is_false_is_not_overlooked() -> None:
    def signature(cause: BaseException) -> Signature | None:
        error = ValueError("boom")
        error.__cause__ = cause
        error.__context__ = KeyError("context")
        error.__suppress_context__ = False
        record = logging.LogRecord("a", logging.ERROR, "a.py", 1, "x", None, None)
        record.exc_info = (ValueError, error, None)
        return signature_of(record)

    one, other = signature(FalseError("one")), signature(FalseError("other"))
    assert one is not None
    assert other is not None
    assert one.key != other.key
