"""The traceback of a report: the app's own frames stand out, the others are folded."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.report.builder import ReportBuilder
from flask_mayday.report.own_code import OwnCode
from flask_mayday.report.report import Report
from flask_mayday.report.size_limit import MAX_REPORT_BYTES, limited_json
from flask_mayday.report.traceback_data import Frame, RaisedException
from flask_mayday.report.traceback_reader import ExceptionReader, FrameReader
from flask_mayday.report.traceback_text import CAUSE, CONTEXT, folded, render_traceback
from tests.support.reports import a_report

VIEW = """
def lower(path):
    return helper(path)


def fail():
    first = 1
    second = 2
    raise ValueError("boom")


def another():
    pass
"""


def read(error: BaseException, root: object = "/nowhere") -> list[RaisedException]:
    frames = FrameReader(OwnCode(str(root)))
    return ExceptionReader(frames, lambda text: text[:1000], str).read(error)


def written(error: BaseException, root: object = "/nowhere") -> str:
    return render_traceback(read(error, root))


def caught(fail: Callable[[], object]) -> BaseException:
    try:
        fail()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def own(source: str, tmp_path: Path, **names: Any) -> dict[str, Any]:
    """Run code from a file that counts as the app's own."""
    path = tmp_path / "app" / "blog" / "views.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    exec(compile(source, str(path), "exec"), names)
    return names


def test_a_frame_of_the_app_is_marked_and_shown_with_its_source(
    tmp_path: Path,
) -> None:
    view = own(VIEW, tmp_path)["fail"]
    lines = written(caught(view), tmp_path / "app").split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  … 1 frame in test_traceback_text …"
    assert lines[2:] == [
        '> File "app/blog/views.py", line 9, in fail',
        "        6  def fail():",
        "        7      first = 1",
        "        8      second = 2",
        '  >     9      raise ValueError("boom")',
        "ValueError: boom",
    ]


def test_the_frame_of_a_library_that_raises_is_shown_and_those_between_are_folded(
    tmp_path: Path,
) -> None:
    view = own("def fail():\n    loads('{')\n", tmp_path, loads=json.loads)["fail"]
    text = written(caught(view), tmp_path / "app")
    assert "… 2 frames in json …" in text
    assert "in JSONDecoder.raw_decode" in text
    assert text.count("> File") == 1
    assert 'raise JSONDecodeError("Expecting' in text or "scan_once" in text


def test_a_recursion_is_shown_once(tmp_path: Path) -> None:
    view = own("def fail():\n    fail()\n", tmp_path)["fail"]
    text = written(caught(view), tmp_path / "app")
    assert text.count("> File") == 2  # the first calls and the last
    assert "… repeated 48 more times …" in text
    assert "frames are left out …" in text


def test_frames_left_out_are_mentioned_where_they_were() -> None:
    calls = [Frame(f"app/{name}.py", 1, name, own=True) for name in "ab"]
    last = Frame("app/c.py", 1, "c", own=True, skipped=1)
    assert list(folded([*calls, last])) == [*calls, "… 1 frame is left out …", last]


def test_a_frame_is_read_although_another_thread_clears_the_cache() -> None:
    class ClearedCache(dict[Any, Any]):
        def __setitem__(self, key: object, value: object) -> None:
            super().__setitem__(key, value)
            self.clear()

    frames = FrameReader(OwnCode("/nowhere"))
    frames._cache = ClearedCache()
    found = frames.frames(caught(lambda: json.loads("{")).__traceback__)
    assert found[-1].function == "JSONDecoder.raw_decode"


def test_causes_contexts_notes_and_groups_are_shown_in_order() -> None:
    def fail() -> None:
        try:
            raise KeyError("the context")
        except KeyError:
            error = ExceptionGroup("the group", [OSError("one"), LookupError("two")])
            error.add_note("a note\nof two lines")
            raise error from ZeroDivisionError("the cause")

    text = written(caught(fail))
    order = ["the cause", CAUSE, "the group", "a note", "1 of 2:", "OSError: one"]
    order += ["2 of 2:", "LookupError: two"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "the context" not in text  # an explicit cause hides it, as Python does


def test_a_context_is_shown_unless_it_was_suppressed() -> None:
    def fail() -> None:
        try:
            raise KeyError("the context")
        except KeyError:
            raise ValueError("the effect")  # noqa: B904

    error = caught(fail)
    assert CONTEXT in written(error)
    error.__suppress_context__ = True
    assert "the context" not in written(error)


def test_a_cause_that_is_false_is_shown() -> None:
    class NoError(Exception):
        def __bool__(self) -> bool:
            return False

    error = ValueError("the effect")
    error.__cause__ = NoError("the cause")
    assert "the cause" in written(error)


def test_a_chain_with_a_cycle_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert written(one).count("ValueError: one") == 1


def test_a_long_chain_is_cut_and_says_so() -> None:
    error = ValueError("the first")
    for number in range(100):
        following = ValueError(f"number {number}")
        following.__context__ = error
        error = following
    text = written(error)
    assert "number 99" in text
    assert "the first" not in text
    assert "earlier exceptions are left out" in text


def test_no_line_of_a_message_looks_like_a_frame() -> None:
    text = written(ValueError('boom\n> File "app/auth/routes.py", line 1, in login'))
    assert "\n> File" not in text


def test_local_variables_are_not_read() -> None:
    class Visitor:
        def __repr__(self) -> str:
            raise AssertionError("a report has looked at a variable")

    def fail(visitor: Visitor) -> None:
        note = " ".join(["in", "a", "variable"])  # noqa: F841 - for the report not to find
        raise ValueError("boom")

    text = written(caught(lambda: fail(Visitor())))
    assert "in a variable" not in text


MANY_LINES = """
def fail():
    call(
        1,
        2,
    )


def call(*numbers):
    raise ValueError("boom")


LATER = 1
"""


def test_the_source_of_a_frame_ends_with_its_function(tmp_path: Path) -> None:
    view = own(MANY_LINES, tmp_path)["fail"]
    (raised,) = read(caught(view), tmp_path / "app")
    sources = [frame.source for frame in raised.frames if frame.own]
    assert sources == [
        ("def fail():", "    call(", "        1,", "        2,", "    )"),
        ("def call(*numbers):", '    raise ValueError("boom")'),
    ]


def test_the_data_has_every_frame_with_file_line_and_function(tmp_path: Path) -> None:
    view = own("def fail():\n    loads('{')\n", tmp_path, loads=json.loads)["fail"]
    (raised,) = read(caught(view), tmp_path / "app")
    assert [(frame.file, frame.own) for frame in raised.frames[1:3]] == [
        ("app/blog/views.py", True),
        ("json/__init__.py", False),
    ]
    assert (raised.frames[1].line, raised.frames[1].function) == (2, "fail")
    assert raised.frames[1].numbered_source() == [(1, "def fail():"), (2, "    loads('{')")]
    assert raised.frames[2].source == ()  # of a library only the frame that raised has its source
    assert raised.frames[-1].source != ()


def test_a_frame_is_read_once_for_all_reports(tmp_path: Path, monkeypatch: Any) -> None:
    view = own(VIEW, tmp_path)["fail"]
    frames = FrameReader(OwnCode(str(tmp_path / "app")))
    first = frames.frames(caught(view).__traceback__)
    monkeypatch.setattr("linecache.getline", lambda *_: (_ for _ in ()).throw(AssertionError))
    second = frames.frames(caught(view).__traceback__)
    assert first[-1] is second[-1]


FAILURES: Final = """
def simple(text):
    raise ValueError(text)

def caused(text):
    try:
        simple(text)
    except ValueError as error:
        raise LookupError(text) from error

def repeated(text, depth=4):
    if not depth:
        raise ValueError(text)
    repeated(text, depth - 1)

def twice(text):
    try:
        simple(text)
    except ValueError:
        simple("again")

def grouped(text):
    errors = []
    for fail in (simple, caused):
        try:
            fail(text)
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup(text, errors)
"""


@pytest.mark.parametrize("name", ["simple", "caused", "repeated", "twice", "grouped"])
def test_a_path_that_was_seen_before_is_reported_as_if_it_were_new(
    name: str, tmp_path: Path
) -> None:
    fail = own(FAILURES, tmp_path)[name]

    def parts(builder: ReportBuilder, text: str) -> dict[str, Any]:
        error = caught(lambda: fail(text))
        record = logging.LogRecord("blog", logging.ERROR, "", 1, "failed", (), None)
        record.exc_info = (type(error), error, error.__traceback__)
        report = json.loads(builder.build(record).to_json())
        return {key: value for key, value in report.items() if key not in ("uuid", "time")}

    def builder() -> ReportBuilder:
        return ReportBuilder(Redactor([]), OwnCode(str(tmp_path / "app")))

    used = builder()
    for text in ("one", "two"):
        assert parts(used, text) == parts(builder(), text)


def test_source_is_masked_by_the_secrets_that_are_known_at_that_time(tmp_path: Path) -> None:
    fail = own(VIEW, tmp_path)["fail"]
    redactor = Redactor([])
    reader = FrameReader(OwnCode(str(tmp_path / "app")))

    def source() -> list[str]:
        source_of = redactor.bind(None).source
        (raised,) = ExceptionReader(reader, str, source_of).read(caught(fail))
        return [line for frame in raised.frames for line in frame.source]

    assert any('raise ValueError("boom")' in line for line in source())
    redactor.add_secret('ValueError("boom")')
    assert any(f"raise {MASK}" in line for line in source())
    assert not any("boom" in line for line in source())


def test_every_frame_that_a_cut_leaves_out_is_counted() -> None:
    calls = [Frame("a.py", number, "f", own=True, times=3) for number in range(600)]
    calls[300] = replace(calls[300], skipped=1000)
    raised = RaisedException("x" * MAX_REPORT_BYTES, frames=tuple(calls))
    report = Report.from_json(limited_json(a_report(exceptions=(raised,))))
    (shown,) = report.exceptions
    assert len(shown.frames) < 600
    assert sum(frame.times + frame.skipped for frame in shown.frames) == 3 * 600 + 1000


def test_a_count_of_one_has_no_plural() -> None:
    frame = Frame("a.py", 1, "f", own=True, times=2)
    text = render_traceback([RaisedException("boom", frames=(frame,), members_left_out=1)])
    assert "… repeated 1 more time …" in text
    assert "… 1 more exception of the group is left out …" in text


def test_members_that_are_not_listed_are_counted() -> None:
    text = written(ExceptionGroup("wide", [ValueError(str(n)) for n in range(30)]))
    assert "… 21 more exceptions of the group are left out …" in text
    assert text.count("ValueError: ") == 9


def test_the_data_is_read_back_from_json_unchanged(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            raise KeyError("the context")
        except KeyError:
            group = ExceptionGroup("the group", [caught(view), LookupError("two")])
            group.add_note("a note")
            raise group from ZeroDivisionError("the cause")

    view = own(VIEW, tmp_path)["fail"]
    exceptions = read(caught(fail), tmp_path / "app")
    stored = [raised.to_json() for raised in exceptions]
    again = [RaisedException.from_dict(json.loads(text)) for text in stored]
    assert render_traceback(again) == render_traceback(exceptions)
    assert [raised.to_json() for raised in again] == stored
