"""The traceback of a report: the app's own frames to be seen at once, the others folded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask_mayday.report import traceback_text as trace
from flask_mayday.report.traceback_text import Writer

VIEW = """
def lower(path):
    return helper(path)


def fail():
    first = 1
    second = 2
    raise ValueError("boom")
    third = 3


def another():
    pass
"""


def written(error: BaseException) -> str:
    return Writer(lambda text: text[:1000], str).text(error)


def caught(fail: Callable[[], object]) -> BaseException:
    try:
        fail()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def own(source: str, monkeypatch: Any, tmp_path: Any, **names: Any) -> dict[str, Any]:
    """Run code that stands in a file of the app's own."""
    path = tmp_path / "app" / "blog" / "views.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    monkeypatch.setattr(trace, "APP_FOLDER", str(tmp_path / "app"))
    exec(compile(source, str(path), "exec"), names)
    return names


def test_a_frame_of_the_app_is_marked_and_shown_with_its_source(
    monkeypatch: Any, tmp_path: Any
) -> None:
    view = own(VIEW, monkeypatch, tmp_path)["fail"]
    lines = written(caught(view)).split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  … 1 frame in test_traceback_text …"
    assert lines[2:] == [
        '> File "app/blog/views.py", line 9, in fail',
        "        6  def fail():",
        "        7      first = 1",
        "        8      second = 2",
        '  >     9      raise ValueError("boom")',
        "       10      third = 3",
        "ValueError: boom",
    ]


def test_the_frame_of_a_library_that_raises_is_shown_and_those_between_are_folded(
    monkeypatch: Any, tmp_path: Any
) -> None:
    view = own("def fail():\n    loads('{')\n", monkeypatch, tmp_path, loads=json.loads)["fail"]
    text = written(caught(view))
    assert "… 2 frames in __init__, decoder …" in text
    assert "in JSONDecoder.raw_decode" in text
    assert text.count("> File") == 1
    assert 'raise JSONDecodeError("Expecting' in text or "scan_once" in text


def test_a_recursion_is_told_once(monkeypatch: Any, tmp_path: Any) -> None:
    view = own("def fail():\n    fail()\n", monkeypatch, tmp_path)["fail"]
    text = written(caught(view))
    assert text.count("> File") == 2  # the first calls and the last
    assert "… the same 48 more times …" in text
    assert "frames left out …" in text


def test_causes_contexts_notes_and_groups_are_told_in_their_order() -> None:
    def fail() -> None:
        try:
            raise KeyError("the context")
        except KeyError:
            error = ExceptionGroup("the group", [OSError("one"), LookupError("two")])
            error.add_note("a note\nof two lines")
            raise error from ZeroDivisionError("the cause")

    text = written(caught(fail))
    order = ["the cause", trace.CAUSE, "the group", "a note", "1 of 2:", "OSError: one"]
    order += ["2 of 2:", "LookupError: two"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "the context" not in text  # an explicit cause hides it, as Python does


def test_a_context_is_told_unless_it_was_suppressed() -> None:
    def fail() -> None:
        try:
            raise KeyError("the context")
        except KeyError:
            raise ValueError("the effect")  # noqa: B904

    error = caught(fail)
    assert trace.CONTEXT in written(error)
    error.__suppress_context__ = True
    assert "the context" not in written(error)


def test_a_chain_that_goes_round_in_circles_ends() -> None:
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
    assert "what led to this exception is left out" in text


def test_no_line_of_a_message_looks_like_a_frame() -> None:
    text = written(ValueError('boom\n> File "app/auth/routes.py", line 1, in login'))
    assert "\n> File" not in text


def test_no_variable_is_looked_at() -> None:
    class Visitor:
        def __repr__(self) -> str:
            raise AssertionError("a report has looked at a variable")

    def fail(visitor: Visitor) -> None:
        note = " ".join(["in", "a", "variable"])  # noqa: F841 - for the report not to find
        raise ValueError("boom")

    text = written(caught(lambda: fail(Visitor())))
    assert "in a variable" not in text
