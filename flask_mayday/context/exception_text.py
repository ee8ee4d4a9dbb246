"""Formats an exception as Python does, but formats each frame only once in a process."""

from __future__ import annotations

import sys
import traceback
from itertools import pairwise
from types import CodeType, TracebackType
from typing import Final

CACHE_SIZE: Final = 2048  # frames

# By code object and position. The code object is kept alive, so that its id is not reused.
_frames: dict[tuple[int, int], tuple[CodeType, str]] = {}


def exception_text(error: BaseException) -> str:
    """Return what :func:`traceback.format_exception` returns, as one text without the last newline.

    The source lines are those that the file had when the frame was first formatted: if the file has
    changed since, the process still runs the old lines.
    """
    if hasattr(sys, "tracebacklimit"):
        return "".join(traceback.format_exception(error)).removesuffix("\n")
    # With limit 0, everything except the frames is read.
    found = traceback.TracebackException(
        type(error), error, error.__traceback__, limit=0, compact=True
    )
    _add_frames(found, error)
    return "".join(found.format()).removesuffix("\n")


class _CachedStack(traceback.StackSummary):
    """The frames of a traceback, as text that is formatted already."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts = texts

    def __bool__(self) -> bool:
        return bool(self.texts)

    def format(self, **_options: object) -> list[str]:
        """Return the text of each frame."""
        return self.texts


def _add_frames(found: traceback.TracebackException, error: BaseException) -> None:
    """Add the frames to an exception, to those that led to it, and to the members of a group."""
    waiting: list[tuple[traceback.TracebackException, BaseException | None]] = [(found, error)]
    while waiting:
        one, raised = waiting.pop()
        if raised is None:
            continue
        one.stack = _stack_of(raised.__traceback__)
        if one.__cause__ is not None:
            waiting.append((one.__cause__, raised.__cause__))
        if one.__context__ is not None:
            waiting.append((one.__context__, raised.__context__))
        if isinstance(raised, BaseExceptionGroup):
            waiting += zip(one.exceptions or (), raised.exceptions, strict=False)


def _stack_of(trace: TracebackType | None) -> traceback.StackSummary:
    traces = []
    following = trace
    while following is not None:
        traces.append(following)
        following = following.tb_next
    if any(_is_repeated(one, next_one) for one, next_one in pairwise(traces)):
        return traceback.extract_tb(trace)  # Python shortens a recursion to its first calls
    return _CachedStack([_text_of(one) for one in traces])


def _is_repeated(one: TracebackType, next_one: TracebackType) -> bool:
    # Python searches a table for the line, so it is only looked up where the function is the same.
    return one.tb_frame.f_code == next_one.tb_frame.f_code and one.tb_lineno == next_one.tb_lineno


def _text_of(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    key = (id(code), trace.tb_lasti)
    # Another thread may clear the cache at any time.
    if known := _frames.get(key):
        return known[1]
    if len(_frames) >= CACHE_SIZE:
        _frames.clear()
    text = "".join(traceback.extract_tb(trace, limit=1).format())
    _frames[key] = (code, text)
    return text
