"""An exception's text is what Python writes, and the text of a frame is made once."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_mayday.context.exception_text import exception_text


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def plain() -> None:
    raise ValueError("several\nlines")


def caused() -> None:
    try:
        plain()
    except ValueError as error:
        raise KeyError("second") from error


def in_context() -> None:
    try:
        caused()
    except KeyError:
        {}["third"]


def suppressed() -> None:
    try:
        plain()
    except ValueError:
        raise RuntimeError("alone") from None


def group() -> None:
    errors = [raised(in_context), raised(plain), ExceptionGroup("inner", [TypeError("no trace")])]
    raise ExceptionGroup("outer", errors)


def noted() -> None:
    error = ValueError("with notes")
    error.add_note("the first\nnote")
    raise error


def recursion(depth: int = 30) -> None:
    if not depth:
        raise RecursionError("deep")
    recursion(depth - 1)


def endless() -> None:
    endless()


def misspelt() -> None:
    plane()  # type: ignore[name-defined]  # noqa: F821


def syntax() -> None:
    compile("def f(:\n", "<input>", "exec")


def without_text() -> None:
    class Silent(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise ValueError("no text")

    raise Silent


def generated() -> None:
    exec(compile("1 / 0", "<generated>", "exec"))


def several_lines() -> None:
    {
        "a": 1,
        "b": [1][
            5
        ],
    }  # fmt: skip


KINDS = (plain, caused, in_context, suppressed, group, noted, recursion, endless, misspelt, syntax)
KINDS += (without_text, generated, several_lines)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_what_python_writes(kind: Callable[[], object]) -> None:
    error = raised(kind)
    expected = "".join(traceback.format_exception(error)).removesuffix("\n")
    assert exception_text(error) == expected  # read now
    assert exception_text(error) == expected  # from the cache


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    error = ValueError("made")
    assert exception_text(error) == "".join(traceback.format_exception(error)).removesuffix("\n")


def test_two_places_in_one_function_have_different_texts() -> None:
    def either(first: bool) -> None:
        if first:
            raise ValueError("here")
        raise ValueError("there")

    for first in (True, False, True):
        error = raised(lambda first=first: either(first))  # type: ignore[misc]
        expected = "".join(traceback.format_exception(error)).removesuffix("\n")
        assert exception_text(error) == expected


def test_a_frame_is_formatted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = exception_text(raised(plain))
    monkeypatch.setattr(linecache, "getline", lambda *_: "changed")
    monkeypatch.setattr(linecache, "getlines", lambda *_: ["changed"])
    again = exception_text(raised(plain))
    assert again.split("plain")[1] == first.split("plain")[1]
