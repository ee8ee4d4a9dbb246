"""The exceptions of a report as text: the app's frames with source, others folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from .traceback_data import Frame, RaisedException, made_once
from .wording import counted

HEADING: Final = "Traceback (most recent call last):"
CAUSE: Final = "The above exception was the direct cause of the following exception:"
CONTEXT: Final = "During handling of the above exception, another exception occurred:"
EARLIER_LEFT_OUT: Final = "… earlier exceptions are left out …"
MAX_NAMES: Final = 5  # libraries named in one folded line


def render_traceback(exceptions: Sequence[RaisedException]) -> str:
    """Return the exceptions as a traceback; ``>`` marks the app's own frames."""
    return "\n".join(_lines(exceptions))


def introduced(
    exceptions: Iterable[RaisedException],
) -> Iterator[tuple[str, RaisedException]]:
    """Yield each exception after the line that introduces it, which may be empty."""
    before: dict[int, RaisedException] = {}  # the last exception of each depth
    for raised in exceptions:
        previous = before.get(raised.depth)
        if raised.number:
            yield f"{raised.number} of {raised.of}:", raised
        elif previous is None or not previous.link:
            yield "", raised
        else:
            yield CAUSE if previous.link == "cause" else CONTEXT, raised
        before[raised.depth] = raised


def folded(frames: Sequence[Frame]) -> Iterator[Frame | str]:
    """Yield what a reader needs of a traceback.

    That is each of the app's own frames, the frame that raised, and one line of text for each
    run of frames of libraries in between.
    """
    last = frames[-1] if frames else None
    for is_shown, group in groupby(frames, lambda frame: frame.own or frame is last):
        run = list(group)
        if not is_shown:
            yield from _frames_left_out(sum(frame.skipped for frame in run))
            yield _folded_line(run)
            continue
        for frame in run:
            yield from _frames_left_out(frame.skipped)
            yield frame


def members_left_out(raised: RaisedException) -> str:
    """Return the line that says how many members of a group are not listed, or nothing."""
    count = raised.members_left_out
    members = f"{counted(count, 'more exception')} of the group {'is' if count == 1 else 'are'}"
    return f"… {members} left out …" if count else ""


def repetition(frame: Frame) -> str:
    """Return the line that says how often a frame is repeated, or nothing."""
    return f"… repeated {counted(frame.times - 1, 'more time')} …" if frame.times > 1 else ""


def _lines(exceptions: Iterable[RaisedException]) -> Iterator[str]:
    for introduction, raised in introduced(exceptions):
        indent = "    " * raised.depth
        if introduction:
            # As Python does: blank lines around these sentences, none before a member.
            line = f"{indent[:-2]}{introduction}"
            yield line if raised.number else f"\n{indent}{introduction}\n"
        if raised.earlier_left_out:
            yield f"{indent}{EARLIER_LEFT_OUT}\n"
        if raised.frames and not indent:
            yield made_once(raised.frames, _text_of_frames)
        elif raised.frames:
            yield from _lines_of_frames(raised.frames, indent)
        yield from _hanging(raised.text, indent)
        for note in raised.notes:
            yield from _hanging(note, f"{indent}  ")
        if line := members_left_out(raised):
            yield f"{indent}  {line}"


def _text_of_frames(frames: Sequence[Frame]) -> str:
    return "\n".join(_lines_of_frames(frames, ""))


def _lines_of_frames(frames: Sequence[Frame], indent: str) -> Iterator[str]:
    yield f"{indent}{HEADING}"
    for item in folded(frames):
        yield from _frame_lines(item, indent)


def _frame_lines(item: Frame | str, indent: str) -> Iterator[str]:
    if isinstance(item, str):
        yield f"{indent}  {item}"
        return
    mark = "> " if item.own else "  "
    yield f'{mark}{indent}File "{item.file}", line {item.line}, in {item.function}'
    for number, line in item.numbered_source():
        hit = ">" if item.own and number == item.line else " "
        yield f"{indent}  {hit} {number:>5}  {line}".rstrip()
    if line := repetition(item):
        yield f"{indent}  {line}"


def _frames_left_out(count: int) -> Iterator[str]:
    if count:
        yield f"… {counted(count, 'frame')} {'is' if count == 1 else 'are'} left out …"


def _folded_line(run: Sequence[Frame]) -> str:
    names = dict.fromkeys(_library(frame.file) for frame in run)
    shown = ", ".join(list(names)[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    count = sum(frame.times for frame in run)
    return f"… {counted(count, 'frame')} in {shown} …"


def _library(file: str) -> str:
    if file.startswith("<"):
        return "generated code"
    if file.startswith("/"):
        return file.rpartition("/")[2].removesuffix(".py")
    return file.partition("/")[0].removesuffix(".py")


def _hanging(text: str, indent: str) -> Iterator[str]:
    """Yield a text's lines, indented after the first, so that none of them looks like a frame."""
    first, *others = text.split("\n")
    yield indent + first
    yield from (f"{indent}  {line}" for line in others)
