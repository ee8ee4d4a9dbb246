"""The text and JSON formats of the log: no input can forge a line, and no record is lost."""

from __future__ import annotations

import json
import logging
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest

from flask_mayday.context import request_id, trace_context
from flask_mayday.context.record_fields import (
    ANSWERED_BY_NGINX,
    INTERRUPTED,
    REQUESTS,
    traceback_of,
)
from flask_mayday.log.formats import JsonFormatter, TextFormatter
from flask_mayday.log.rotation import RECORD_BYTES
from flask_mayday.redaction.redactor import Redactor

SECRET = "the-secret-of-this-site"

FORMATTERS = pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])


def record(message: object, *arguments: object, **options: object) -> logging.LogRecord:
    return logging.LogRecord(
        "blog", logging.ERROR, "/srv/app/views.py", 42, message, arguments, None, **options
    )


def raised(text: str) -> logging.LogRecord:
    failed = record("It failed")
    try:
        raise ValueError(text)
    except ValueError:
        failed.exc_info = sys.exc_info()
    return failed


def text_of(entry: logging.LogRecord) -> str:
    return TextFormatter(Redactor([SECRET])).format(entry)


def json_of(entry: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter(Redactor([SECRET])).format(entry)
    assert line.isascii()
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


def test_a_text_line_has_the_documented_form() -> None:
    identifier = request_id.begin({}, trusted=False)
    line = text_of(record("Hello %s", "world"))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR: Hello world"
        rf" \[in /srv/app/views\.py:42\] \[request {identifier}\]",
        line,
    )


def test_a_line_outside_a_request_has_a_dash_for_its_id() -> None:
    assert text_of(record("Hello")).endswith("[request -]")


def test_times_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    moment = record("Hello")
    moment.created, moment.msecs = 86_400.0, 0.0
    assert text_of(moment).startswith("1970-01-02 00:00:00,000 ")
    assert json_of(moment)["time"] == "1970-01-02T00:00:00.000+00:00"


@pytest.mark.parametrize(
    "attack",
    [
        "\n",
        "\r",
        "\r\n",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u2028",
        "\u2029",
        "\x00",
        "\x1b[2J\x1b[H",
        "\x08" * 9,
        "\x7f",
        "\x9b31m",
        "\u202e",
        "\u2066",
    ],
)
def test_no_character_from_outside_starts_a_line_or_moves_the_cursor(attack: str) -> None:
    line = text_of(record("User %s logged in", f"susan{attack}2099-01-01 INFO: forged"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "forged" in line


def test_a_lone_surrogate_can_be_written() -> None:
    assert r"\udce9" in text_of(record("Caf%s", "\udce9"))
    text_of(record("Caf%s", "\udce9")).encode("utf-8")
    assert json_of(record("Caf%s", "\udce9"))["message"] == "Caf\udce9"


def test_other_languages_stay_readable() -> None:
    assert "Zoë 漢字 🙂" in text_of(record("Zoë 漢字 🙂"))


def test_a_traceback_is_indented_under_its_line() -> None:
    first, *following = text_of(raised("boom")).split("\n")
    assert "ERROR: It failed [in " in first
    assert following[0] == "  Traceback (most recent call last):"
    assert following[-1] == "  ValueError: boom"
    assert all(line.startswith("  ") for line in following)


def test_the_text_of_an_exception_cannot_start_a_line() -> None:
    text = text_of(raised("boom\n2099-01-01 00:00:00,000 INFO: forged\r\u2028forged"))
    assert not [line for line in text.splitlines()[1:] if not line.startswith("  ")]


def test_a_stack_is_indented_too() -> None:
    entry = record("Here")
    entry.stack_info = "Stack (most recent call last):\n  somewhere"
    assert text_of(entry).split("\n")[1:] == [
        "  Stack (most recent call last):",
        "    somewhere",
    ]


def test_json_has_the_documented_fields() -> None:
    identifier = request_id.begin({}, trusted=False)
    entry = json_of(raised("boom"))
    assert list(entry) == [
        "time",
        "level",
        "logger",
        "message",
        "path",
        "line",
        "request_id",
        "process",
        "host",
        "exception",
    ]
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "blog", "It failed")
    assert (entry["path"], entry["line"]) == ("/srv/app/views.py", 42)
    assert entry["request_id"] == identifier
    assert str(entry["exception"]).startswith("Traceback (most recent call last):\n")
    assert str(entry["exception"]).endswith("\nValueError: boom")


def test_json_outside_a_request_and_without_an_exception_has_nulls() -> None:
    entry = json_of(record("Hello"))
    assert (entry["request_id"], entry["exception"]) == (None, None)


@FORMATTERS
def test_no_secret_is_written(formatter: type[logging.Formatter]) -> None:
    entry = raised(f"cannot log in with {SECRET}")
    entry.msg, entry.args = "Trying %s", (SECRET,)
    entry.stack_info = f"stack {SECRET}"
    line = formatter(Redactor([SECRET])).format(entry)  # type: ignore[call-arg]
    assert SECRET not in line
    assert line.count("********") == 3


@FORMATTERS
def test_a_record_is_formatted_once_for_all_handlers(
    formatter: type[logging.Formatter],
) -> None:
    class Counting:
        times = 0

        def __str__(self) -> str:
            self.times += 1
            return "counted"

    counting, shared = Counting(), formatter(Redactor([]))  # type: ignore[call-arg]
    entry = record("%s", counting)
    assert shared.format(entry) == shared.format(entry)
    assert counting.times == 1
    # Another formatter may redact other values.
    formatter(Redactor([])).format(entry)  # type: ignore[call-arg]
    assert counting.times == 2


@FORMATTERS
def test_a_formatted_record_can_be_sent_to_another_process(
    formatter: type[logging.Formatter],
) -> None:
    entry = record("Passed on by a SocketHandler of the app")
    formatter(Redactor([])).format(entry)  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(vars(entry)))["msg"] == entry.msg


class Unprintable:
    """A value whose ``__str__`` fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@FORMATTERS
@pytest.mark.parametrize(
    ("message", "arguments"),
    [("%d users", ("many",)), ("%s and %s", ("one",)), ("none", ("one",)), ("%(a)s", (1,))],
)
def test_a_record_whose_arguments_do_not_fit_is_still_written(
    formatter: type[logging.Formatter], message: str, arguments: tuple[object, ...]
) -> None:
    line = formatter(Redactor([])).format(record(message, *arguments))  # type: ignore[call-arg]
    assert message in line
    assert str(arguments[0]) in line


@FORMATTERS
def test_a_record_without_a_text_is_still_written(
    formatter: type[logging.Formatter],
) -> None:
    line = formatter(Redactor([])).format(record("Got %s", Unprintable()))  # type: ignore[call-arg]
    assert "Got %s" in line
    line = formatter(Redactor([])).format(record(Unprintable()))  # type: ignore[call-arg]
    assert "RuntimeError" in line


def test_json_keeps_every_extra_field() -> None:
    entry = record("Order paid")
    entry.__dict__ |= {
        "order": {"id": 17, "lines": ("a", 2.5, None, True)},
        "status": 200,
        "when": datetime(2026, 1, 31, tzinfo=UTC),
        "rate": float("inf"),
        "odd": Unprintable(),
        "tags": {"one"},
    }
    found = json_of(entry)
    assert {name: found[name] for name in ("order", "status", "when", "rate", "odd", "tags")} == {
        "order": {"id": 17, "lines": ["a", 2.5, None, True]},
        "status": 200,
        "when": "2026-01-31 00:00:00+00:00",
        "rate": "inf",
        "odd": "<Unprintable that has no text>",
        "tags": ["one"],
    }


def test_a_field_that_cannot_be_read_does_not_cost_the_others() -> None:
    class Lazy(Mapping[str, object]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("no connection")

        def __getitem__(self, name: str) -> object:
            raise NotImplementedError

        def __len__(self) -> int:
            return 1

    entry = record("Order paid")
    entry.__dict__ |= {"lazy": Lazy(), "huge": 10**5000, "large": 2**64, "order": 17}
    found = json_of(entry)
    assert {name: found[name] for name in ("message", "lazy", "huge", "large", "order")} == {
        "message": "Order paid",
        "lazy": "<Lazy that cannot be read: RuntimeError>",
        "huge": "<int that has no text>",
        "large": str(2**64),
        "order": 17,
    }


def test_json_names_the_trace_of_a_request() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    environ: dict[str, object] = {"HTTP_TRACEPARENT": f"00-{trace}-00f067aa0ba902b7-01"}
    request_id.begin(environ, trusted=True)
    trace_context.begin(environ, trusted=True)
    found = json_of(record("Hello"))
    assert found["trace_id"] == trace
    assert re.fullmatch("[0-9a-f]{16}", str(found["span_id"]))


def test_json_keeps_the_values_passed_to_capture() -> None:
    entry = record("Captured")
    entry.__dict__ |= {"mayday_context": {"order": 17}, "mayday_unreported": True}
    found = json_of(entry)
    assert found["order"] == 17
    assert not [name for name in found if name.startswith("mayday_")]


def test_extra_fields_are_redacted_by_name_and_by_value() -> None:
    entry = record("Paid")
    entry.__dict__ |= {"password": "short", "note": f"with {SECRET}", "deep": {"api_key": 1234}}
    found = json_of(entry)
    assert (found["password"], found["note"], found["deep"]) == (
        "********",
        "with ********",
        {"api_key": "********"},
    )


def test_an_extra_field_cannot_replace_a_documented_one() -> None:
    entry = record("Paid")
    entry.__dict__ |= {"time": "now", "level": "LOW", "request_id": "mine", "exception": "none"}
    found = json_of(entry)
    assert (found["level"], found["request_id"], found["exception"]) == ("ERROR", None, None)
    assert (found["extra_time"], found["extra_level"]) == ("now", "LOW")
    assert (found["extra_request_id"], found["extra_exception"]) == ("mine", "none")


@pytest.mark.parametrize(
    "extra",
    [
        {"stack": ["frame"]},
        {"stack": 1},
        {"request_environ": "prod"},
        {"request_id": ["not", "ours"]},
        {"unreported": object()},
        {"environ": None, "line": "Bakerloo", "asctime_": 1},
        {"text": "\n2099-01-01 INFO: forged"},
        {1: 2},
    ],
)
@FORMATTERS
def test_names_that_libraries_use_for_extra_fields_break_no_formatter(
    formatter: type[logging.Formatter], extra: dict[str, object]
) -> None:
    entry = record("It failed")
    entry.__dict__ |= extra
    line = formatter(Redactor([])).format(entry)  # type: ignore[call-arg]
    assert "It failed" in line
    assert "could not be formatted" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "broken",
    [
        {"created": "yesterday"},
        {"created": float("nan")},
        {"mayday_environ": {"no": "id"}},
        {"mayday_environ": "no mapping"},
    ],
)
@FORMATTERS
def test_a_record_that_cannot_be_formatted_becomes_a_bare_line(
    formatter: type[logging.Formatter], broken: dict[str, object]
) -> None:
    entry = record("Paid %d with %s", 17, SECRET)
    entry.__dict__ |= broken
    line = formatter(Redactor([SECRET])).format(entry)  # type: ignore[call-arg]
    assert "Log record could not be formatted (" in line
    assert "Error: " in line
    assert "Paid 17 with ********" in line
    assert "/srv/app/views.py" in line
    assert "ERROR" in line


@pytest.mark.parametrize("exc_info", [True, (None, None, None), (ValueError, None, None), 1])
@FORMATTERS
def test_a_handmade_record_with_unusual_exc_info_is_written(
    formatter: type[logging.Formatter], exc_info: object
) -> None:
    entry = record("By hand")
    entry.exc_info = exc_info  # type: ignore[assignment]
    assert "By hand" in formatter(Redactor([])).format(entry)  # type: ignore[call-arg]


@pytest.mark.parametrize("character", ["x", "\x00", "🙂"])
@FORMATTERS
def test_a_record_is_bounded_and_keeps_beginning_and_end(
    formatter: type[logging.Formatter], character: str
) -> None:
    entry = raised(f"begin {character * (1 << 20)} end of error")
    entry.msg = f"begin {character * (1 << 20)} end of message"
    entry.__dict__ |= {f"field{number}": character * 100_000 for number in range(100)}
    line = formatter(Redactor([])).format(entry)  # type: ignore[call-arg]
    assert len(line.encode()) < RECORD_BYTES
    assert "characters left out" in line
    for end in ("end of message", "end of error"):
        assert end in line


@pytest.mark.parametrize(
    ("state", "title"),
    [(ANSWERED_BY_NGINX, "Requests answered by nginx:"), (INTERRUPTED, "Requests in progress:")],
)
def test_requests_that_nginx_has_answered_are_not_called_in_progress(
    state: str, title: str
) -> None:
    failed = record("It failed")
    request = {"request_id": "a" * 32, "method": "GET", "path": "/", "state": state}
    setattr(failed, REQUESTS, [request])
    assert traceback_of(failed) == f"{title}\n  GET / [request {'a' * 32}]"
