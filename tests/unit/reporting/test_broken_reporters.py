"""Exceptions and requests built to break the reporter: each is reported, within limits.

``EXAMPLES`` in the environment is how many: 300 where it is unset, 10,000 in a long run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from flask import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from flask_mayday.context import request_id
from flask_mayday.log.formats import TextFormatter
from flask_mayday.mail.message import Envelope, render_report
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report import size_limit
from flask_mayday.report.breadcrumbs import Breadcrumbs
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report
from flask_mayday.reporting.handler import ReportHandler
from tests.support.reports import build_report

EXAMPLES = int(os.environ.get("EXAMPLES", "300"))
# The promise is 0.05 s; a machine that runs tests is slow, and never alone.
MAX_CPU = 2.0  # seconds; a fortieth on a quiet machine
ENVELOPE = Envelope("a@b.example", ("c@d.example",), "<1@b.example>", None, 0.0)
SECRET = "the-secret-of-this-site"


class Silent(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Leaving(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise SystemExit(1)


class Numeric(Exception):  # noqa: N818
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class Text(str):
    def __getitem__(self, key: object) -> str:
        raise RuntimeError("no piece")

    def __len__(self) -> int:
        return -1

    __format__ = split = strip = encode = None  # type: ignore[assignment]


class Subclassed(Exception):  # noqa: N818
    def __str__(self) -> str:
        return Text("a text of another kind")


class Secretive(Exception):  # noqa: N818
    def __getattribute__(self, name: str) -> object:
        raise KeyError(name)


class Deep(Exception):  # noqa: N818
    def __str__(self) -> str:
        return str(self)


def noted(notes: object) -> Exception:
    error = ValueError("noted")
    error.__notes__ = notes  # type: ignore[assignment]
    return error


def circular() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def long_chain() -> Exception:
    error: Exception = ValueError("the first")
    for number in range(2000):
        following = ValueError(f"number {number}")
        following.__context__ = error
        error = following
    return error


def deep_group() -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(300):
        error = ExceptionGroup("around", [error, ValueError("beside")])
    return error


def wide_group() -> Exception:
    return ExceptionGroup("wide", [ValueError("x" * 10_000)] * 2000)


def recursive() -> Exception:
    def again() -> None:
        again()

    try:
        again()
    except RecursionError as error:
        return error
    raise AssertionError("there is no end to it")


def unicode_error() -> Exception:
    return UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "invalid")


def syntax_error() -> Exception:
    return SyntaxError("bad", ("file\n.py", 10**9, -5, "x" * 100_000))


def with_fingerprint(value: object) -> Exception:
    error = ValueError("its own")
    error.report_fingerprint = value  # type: ignore[attr-defined]
    return error


def strange_type() -> Exception:
    kind = type("Na\nme<script>\u2028" * 100, (Exception,), {"__module__": "m\x00" * 1000})
    found: Exception = kind("strange")
    return found


PIECES = [
    "x",
    "\n",
    "\udce9",
    "\x00",
    "漢🙂",
    "'",
    '"',
    "\\",
    "a.",
    "://a:b@",
    "Key (a)=(",
    "&a=",
    "{'a':",
]
PIECES += [
    "Bearer ",
    "-----BEGIN PRIVATE KEY-----",
    "password=",
    "%41",
    "\u202e",
    "</pre><script>",
    "9",
    " ",
]
TEXTS = st.one_of(
    st.text(max_size=200),
    st.builds(lambda piece, count: piece * count, st.sampled_from(PIECES), st.integers(1, 20_000)),
    st.lists(st.sampled_from(PIECES), max_size=200).map("".join),
)
MAKERS: list[Callable[[], BaseException]] = [
    Silent,
    Leaving,
    Numeric,
    Subclassed,
    Secretive,
    Deep,
    lambda: noted(["a note", 7, b"bytes", None, Silent()]),
    lambda: noted("not a list"),
    lambda: noted(7),
    lambda: noted(["x"] * 10_000),
    circular,
    long_chain,
    deep_group,
    wide_group,
    recursive,
    unicode_error,
    syntax_error,
    lambda: with_fingerprint(Silent()),
    lambda: with_fingerprint(Text("x")),
    strange_type,
    lambda: ValueError(b"\xff" * 1000, {"a": [Silent]}),
    lambda: KeyboardInterrupt(),
    lambda: OSError(13, "denied", "\udce9" * 5000),
]
EXCEPTIONS = st.one_of(st.sampled_from(MAKERS), TEXTS.map(lambda text: lambda: ValueError(text)))
KEYS = [
    *["HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_HOST", "HTTP_REFERER", "HTTP_X_API_KEY"],
    *["PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "REMOTE_ADDR", "CONTENT_LENGTH"],
    *["flask_mayday.route", "flask_mayday.breadcrumbs", "flask_mayday.user_id", "werkzeug.request"],
    "HTTP_X_ODD",
]
ENVIRONS = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(TEXTS, TEXTS.map(lambda text: f"Basic {text}"), st.sampled_from([None, 7, b"\xff"])),
    max_size=8,
)


def raised(error: BaseException, message: object = "It failed", *arguments: object) -> Any:
    try:
        raise error
    except BaseException:
        return logging.LogRecord(
            "blog", logging.ERROR, __file__, 1, message, arguments, sys.exc_info()
        )


class Spool:
    """An outbox that keeps its reports in a list."""

    folder = Path("spool")

    def __init__(self) -> None:
        self.rows: list[str] = []

    def put(self, report: Report, *, mailable: bool) -> None:
        assert mailable
        self.rows.append(report.to_json())


def handler(spool: Spool) -> ReportHandler:
    site: Any = SimpleNamespace(mail=SimpleNamespace(server="mail.example"))
    courier: Any = SimpleNamespace(wake=lambda: None, outbox=spool)
    builder = ReportBuilder(Redactor([SECRET]), OwnCode("/nowhere"))
    return ReportHandler(site, builder, courier)


def mail_is_whole(report: Report) -> None:
    content = render_report(report, ENVELOPE)
    assert max(map(len, re.split(rb"\r\n|\n|\r", content))) <= 998
    assert b"<script" not in content.partition(b"text/html")[2]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 300, database=None)
@given(make=EXCEPTIONS, fields=ENVIRONS, message=TEXTS, arguments=st.lists(TEXTS, max_size=2))
def test_every_error_is_accounted_for(
    make: Callable[[], BaseException], fields: dict[str, Any], message: str, arguments: list[str]
) -> None:
    environ = {**EnvironBuilder("/").get_environ(), **fields}
    request_id.begin(environ, trusted=False)
    record = raised(make(), message, *arguments)
    Breadcrumbs().handle(record)
    spool = Spool()
    handler(spool).handle(record)
    (row,) = spool.rows
    assert len(row) <= size_limit.MAX_REPORT_BYTES
    mail_is_whole(Report.from_json(row))


def test_an_error_in_an_error_is_reported_without_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise RuntimeError(arguments)

    monkeypatch.setattr("flask_mayday.redaction.redactor.value_spans", fail)
    environ = EnvironBuilder("/?a=visible", headers={"X-A": "visible"}).get_environ()
    request_id.begin(environ, trusted=False)
    redactor = Redactor([SECRET])
    record = raised(ValueError("visible"), "visible")
    row = build_report(record, redactor).to_json()
    assert "visible" not in row
    assert "left out: it could not be redacted safely, RuntimeError" in row
    assert "visible" not in TextFormatter(redactor).format(record)


# Bounds


def huge_message() -> BaseException:
    return ValueError("x" * 1_000_000)


def huge_words() -> BaseException:
    return ValueError("a.b://c:d e=f 'g': 'h' Key (i)=(j " * 30_000)


def huge_surrogates() -> BaseException:
    return ValueError("\udce9" * 1_000_000)


def huge_bytes() -> BaseException:
    return ValueError(b"\xff" * 250_000)


def heavy_request() -> dict[str, Any]:
    fields = {f"password{number}": f"secret number {number}" for number in range(500)}
    return {"method": "POST", "data": {**fields, "about": "x" * 500_000}}


def long_secret() -> dict[str, Any]:
    return {"method": "POST", "data": {"password": "päss wörd/+" * 50_000}}


def deep_json() -> dict[str, Any]:
    return {"method": "POST", "data": "[" * 900 + "]" * 900, "content_type": "application/json"}


def wide_json() -> dict[str, Any]:
    return {"method": "POST", "json": {"secrets": [f"secret {n}" for n in range(40_000)]}}


def many_cookies() -> dict[str, Any]:
    cookies = "; ".join(f"name{number}=value/+ä%41{number}" for number in range(2000))
    return {"headers": {"Cookie": cookies.encode().decode("latin-1")}}


def plain() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    "request_", [plain, heavy_request, long_secret, deep_json, wide_json, many_cookies]
)
@pytest.mark.parametrize(
    "make",
    [huge_message, huge_words, huge_surrogates, huge_bytes, recursive, wide_group, long_chain],
)
def test_a_report_is_bounded_in_size_and_time(
    make: Callable[[], BaseException], request_: Callable[[], dict[str, Any]]
) -> None:
    environ = EnvironBuilder("/", **request_()).get_environ()
    request_id.begin(environ, trusted=False)
    served = Request(environ)
    served.form  # noqa: B018 - as a view reads it
    served.get_json(silent=True)
    record, redactor = raised(make()), Redactor([SECRET])
    started = time.thread_time()
    stored = size_limit.limited_json(build_report(record, redactor))
    took = time.thread_time() - started
    assert len(stored) <= size_limit.MAX_REPORT_BYTES
    assert took < MAX_CPU
    if os.environ.get("SHOW"):
        print(f"{make.__name__} {request_.__name__}: {took * 1000:.1f} ms")  # noqa: T201


def test_the_spool_keeps_only_both_ends_of_a_recursion() -> None:
    report = build_report(raised(recursive()), Redactor([]))
    assert "frames are left out" in report.traceback
    assert len(json.dumps(report.traceback)) < 20_000


@pytest.mark.parametrize("make", MAKERS)
def test_every_strange_exception_is_reported(make: Callable[[], BaseException]) -> None:
    report = build_report(raised(make()), Redactor([SECRET]))
    assert not report.message.startswith("The report could not be made")
