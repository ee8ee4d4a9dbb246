"""Fingerprints: identical errors share one, on every host and release; different ones do not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.context.record_fields import GROUP
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.report.fingerprint import VERSION
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report

ROOT = "/srv/shop"
RAISES = "def fail():\n    raise ValueError('boom')\n"


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


def reported(record: logging.LogRecord, root: str = ROOT) -> Report:
    return ReportBuilder(Redactor([]), OwnCode(root)).build(record)


def fingerprint(
    error: BaseException | None = None, message: object = "It failed", *arguments: object
) -> str:
    return reported(logged(error, message, *arguments)).fingerprint


def caused(cause: BaseException) -> ValueError:
    error = ValueError("boom")
    error.__cause__ = cause
    return error


def in_app(source: str, first_line: int = 1, root: str = ROOT, file: str = "views.py") -> Any:
    """Compile a function ``fail`` that appears to be in the app."""
    names: dict[str, Any] = {"__name__": "shop.views"}
    exec(compile("\n" * first_line + source, f"{root}/{file}", "exec"), names)
    return names["fail"]


def failed_report(fail: Callable[[], object], root: str = ROOT) -> Report:
    try:
        fail()
    except Exception as error:
        information = (type(error), error, error.__traceback__)
        record = logging.LogRecord("blog", logging.ERROR, __file__, 1, "It failed", (), information)
        return reported(record, root)
    raise AssertionError("nothing was raised")


def failed(fail: Callable[[], object], root: str = ROOT) -> str:
    return failed_report(fail, root).fingerprint


def test_a_fingerprint_is_16_hex_digits_that_begin_with_its_version() -> None:
    found = fingerprint(ValueError("boom"))
    assert len(found) == 16
    int(found, 16)
    assert found.startswith(VERSION)


def test_version_1_of_the_fingerprint_is_stable() -> None:
    # If this fails, the grouping has changed: every known error would be mailed as new. Raise
    # VERSION, and keep the computation of the previous version.
    assert failed(in_app(RAISES)) == "1b2cebea459b589f"
    assert fingerprint(None, "It failed") == "1d2dfaae2fd5d9d0"


def test_a_fingerprint_does_not_change_with_line_numbers() -> None:
    assert failed(in_app(RAISES, 1)) == failed(in_app("# new\n" + RAISES, 70))


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
def test_a_fingerprint_ignores_values_that_vary_between_occurrences(one: str, other: str) -> None:
    assert fingerprint(ValueError(one)) == fingerprint(ValueError(other))
    assert fingerprint(None, one) == fingerprint(None, other)


def test_a_fingerprint_is_the_same_on_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    first = reported(logged(ValueError("boom")))
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    monkeypatch.setattr("os.getpid", lambda: 1)
    second = reported(logged(ValueError("boom")))
    assert first.host != second.host
    assert first.fingerprint == second.fingerprint


def test_a_fingerprint_does_not_depend_on_the_folder_in_which_the_app_is_installed() -> None:
    elsewhere = "/srv/releases/2026-11-27"
    assert failed(in_app(RAISES, root=elsewhere), elsewhere) == failed(in_app(RAISES))


def test_two_errors_of_another_app_have_two_fingerprints() -> None:
    other = RAISES.replace("boom", "bang")
    for root in ("/home/me/shop", "/venv/lib/python3.13/site-packages/httpbin"):
        one = failed(in_app(RAISES, root=root), root)
        assert failed(in_app(other, root=root), root) != one
        assert failed(in_app(RAISES, root=root, file="jobs.py"), root) != one
        assert failed(in_app(RAISES, root=root), root) == one


def test_the_same_message_from_two_lines_of_one_function_is_two_errors(tmp_path: Path) -> None:
    source = """
def fail(which):
    if which == 1:
        return {}["one"]
    return [][which] or {}["other"]
"""
    source = source.replace("[][which] or ", "")
    (tmp_path / "views.py").write_text(source)
    fail = in_app(source, 0, root=str(tmp_path))
    found = {failed(lambda which=which: fail(which), str(tmp_path)) for which in (1, 2, 3)}
    assert len(found) == 2


def test_errors_outside_the_apps_code_are_grouped_by_the_frame_that_raised() -> None:
    one = in_app("def fail():\n    raise ValueError('boom')\n", root="/opt/library")
    through = "def fail():\n    inner()\ndef inner():\n    raise ValueError('boom')\n"
    other = in_app(through, root="/opt/library")
    assert failed(one) != failed(other)
    assert failed(one) == failed(one)


def test_different_errors_have_different_fingerprints() -> None:
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
        failed(in_app(RAISES)),
        failed(in_app(through)),
    ]
    assert len(set(found)) == len(found)


def test_records_of_different_loggers_are_different_errors() -> None:
    one, other = logged(), logged()
    other.name = "another"
    assert reported(one).fingerprint != reported(other).fingerprint


def test_an_exception_can_set_its_own_fingerprint() -> None:
    def with_text(text: object) -> Exception:
        error = ValueError("boom 'x'")
        error.report_fingerprint = text  # type: ignore[attr-defined]
        return error

    assert fingerprint(with_text("a")) == fingerprint(with_text("a"))
    assert fingerprint(with_text("a")) != fingerprint(with_text("b"))
    assert fingerprint(with_text("a")) != fingerprint(ValueError("boom 'x'"))


def test_an_exceptions_own_fingerprint_alone_decides() -> None:
    found = set()
    for error in (ValueError("one"), KeyError("another")):
        error.report_fingerprint = "payment"  # type: ignore[attr-defined]
        found.add(fingerprint(error))
    assert len(found) == 1


def test_a_report_with_its_own_fingerprint_carries_the_former_one() -> None:
    """It was a part of what counts: the group is found by it, and not mailed as new."""
    lines = ("e = ValueError('boom')", "e.report_fingerprint = 'a'", "raise e")
    report = failed_report(in_app("\n    ".join(("def fail():", *lines, ""))))
    assert report.former == ("10d6e6fee7cb9d1c",)
    assert Report.from_json(report.to_json()).former == report.former
    assert reported(logged(ValueError("boom"))).former == ()


def test_records_that_name_their_group_are_one_error() -> None:
    found = set()
    for error in (ValueError("a"), KeyError("b")):
        record = logged(error)
        setattr(record, GROUP, "database")
        found.add(reported(record).fingerprint)
    assert len(found) == 1
    setattr(record, GROUP, "another")
    assert reported(record).fingerprint not in found


def test_an_endless_recursion_is_one_error_at_any_depth() -> None:
    deep = "def fail(depth=0):\n    return fail(depth + 1)\n"
    direct = in_app(deep)

    def deeper() -> object:
        return (lambda: (lambda: direct())())()

    assert failed(direct) == failed(deeper)
