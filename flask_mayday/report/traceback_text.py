"""The exceptions of a report as text: the app's frames with their source, libraries' folded."""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import TracebackType
from typing import Final

APP_FOLDER: Final = str(Path(__file__).resolve().parent.parent.parent / "app")
FRAMES: Final = 50  # at the beginning, and as many at the end
AROUND: Final = 3  # lines of source before and after the one that failed
EXCEPTIONS: Final = 10  # causes, contexts and members of groups
NAME: Final = 200  # characters of a name
SOURCE_LINE: Final = 200  # characters

CAUSE: Final = "The above exception was the direct cause of the following exception:"
CONTEXT: Final = "During handling of the above exception, another exception occurred:"

Clean = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Frame:
    """One call: the file as it is to be shown, and where the source is."""

    file: str
    path: str
    line: int
    function: str
    own: bool

    def place(self) -> str:
        """Return ``file:line in function``."""
        return f"{self.file}:{self.line} in {self.function}"


class Writer:
    """Writes an exception with all that led to it; ``clean`` redacts and bounds what it says.

    No variable and no object's ``repr`` is looked at: they hold what nobody has redacted.
    """

    def __init__(self, clean: Clean, clean_source: Clean) -> None:
        self.clean = clean
        self.clean_source = clean_source
        self.room = EXCEPTIONS
        self.shown: set[tuple[str, int]] = set()

    def text(self, error: BaseException) -> str:
        """Return the traceback of ``error``, the app's frames marked with ``>``."""
        return "\n".join(self._chain(error, ""))

    def _chain(self, error: BaseException, indent: str) -> Iterator[str]:
        chain, complete = self._led_to(error)
        if not complete:
            yield f"{indent}… what led to this exception is left out …\n"
        before = ""
        for number, (one, link) in enumerate(reversed(chain)):
            if number:
                yield f"\n{indent}{before}\n"
            yield from self._one(one, indent)
            before = link

    def _led_to(self, error: BaseException) -> tuple[list[tuple[BaseException, str]], bool]:
        """Return the exception, what it came of, and so on, each with how it led to the next."""
        chain: list[tuple[BaseException, str]] = []
        seen, link = set(), ""
        following: BaseException | None = error
        while following is not None and id(following) not in seen:
            if self.room <= 0:
                return chain or [(error, link)], False
            self.room -= 1
            seen.add(id(following))
            chain.append((following, link))
            cause, context = following.__cause__, following.__context__
            link = CAUSE if cause is not None else CONTEXT
            following = cause or (None if following.__suppress_context__ else context)
        return chain, True

    def _one(self, error: BaseException, indent: str) -> Iterator[str]:
        frames, left_out = frames_of(error.__traceback__)
        if frames:
            yield f"{indent}Traceback (most recent call last):"
            yield from self._frames(frames, left_out, indent)
        yield from _hanging(self.clean(described(error)), indent)
        for note in _sequence(error, "__notes__")[:EXCEPTIONS]:
            yield from _hanging(self.clean(exact(note)), indent + "  ")
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for number, member in enumerate(members, 1):
            if self.room <= 0:
                yield f"{indent}  … {len(members) - number + 1} more exceptions of the group …"
                return
            yield f"{indent}  {number} of {len(members)}:"
            yield from self._chain(member, indent + "    ")

    def _frames(self, frames: Sequence[Frame], left_out: int, indent: str) -> Iterator[str]:
        halves = [frames] if not left_out else [frames[:FRAMES], frames[FRAMES:]]
        for number, half in enumerate(halves):
            if number:
                yield f"{indent}  … {left_out} frames left out …"
            last = frames[-1] if number == len(halves) - 1 else None
            for own, group in groupby(half, lambda frame: frame.own or frame is last):  # noqa: B023
                run = list(group)
                if own:
                    yield from self._shown(run, indent)
                else:
                    yield f"{indent}  {_folded(run)}"

    def _shown(self, run: Sequence[Frame], indent: str) -> Iterator[str]:
        for frame, same in groupby(run):
            again = len(list(same)) - 1
            mark = "> " if frame.own else "  "
            yield f'{mark}{indent}File "{frame.file}", line {frame.line}, in {frame.function}'
            if (frame.path, frame.line) not in self.shown:
                self.shown.add((frame.path, frame.line))
                yield from self._source(frame, indent)
            if again:
                yield f"{indent}  … the same {again} more times …"

    def _source(self, frame: Frame, indent: str) -> Iterator[str]:
        for number, line in _around(frame):
            mark = ">" if frame.own and number == frame.line else " "
            yield f"{indent}  {mark} {number:>5}  {self.clean_source(line[:SOURCE_LINE])}".rstrip()


def frames_of(trace: TracebackType | None) -> tuple[list[Frame], int]:
    """Return the first and the last :data:`FRAMES` frames, and how many there are between."""
    first: list[Frame] = []
    last: deque[TracebackType] = deque(maxlen=FRAMES)
    count = 0
    while trace is not None:
        count += 1
        if len(first) < FRAMES:
            first.append(_frame(trace))
        else:
            last.append(trace)
        trace = trace.tb_next
    return first + [_frame(one) for one in last], max(0, count - 2 * FRAMES)


def described(error: BaseException) -> str:
    """Return the exception's type and text as the last line of a traceback has them."""
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"[:NAME]
    text = said(error)
    return f"{name}: {text}" if text else name


def said(error: BaseException) -> str:
    """Return the exception's own text, or why it has none."""
    try:
        return exact(error)
    # Everything: an exception's text may be the work of any code, and exit as well as raise.
    except BaseException as failure:
        return f"<the exception has no text: its __str__ raised {type(failure).__name__}>"


def exact(value: object) -> str:
    """Return ``str(value)`` as a string proper: that of a subclass may do anything."""
    return str.__str__(str(value))


def _frame(trace: TracebackType) -> Frame:
    code = trace.tb_frame.f_code
    path = code.co_filename
    own = path.startswith(f"{APP_FOLDER}/")
    if own:
        file = f"{Path(APP_FOLDER).name}{path[len(APP_FOLDER) :]}"
    else:
        file = path.rpartition("-packages/")[2] if "-packages/" in path else path
    line = trace.tb_lineno or code.co_firstlineno
    return Frame(file[-NAME:], path, line, code.co_qualname[:NAME], own)


def _around(frame: Frame) -> list[tuple[int, str]]:
    """Return the line that a frame is at and, of the app's own, those around it in its function."""
    around = AROUND if frame.own else 0
    numbers = range(max(1, frame.line - around), frame.line + around + 1)
    found = [(number, linecache.getline(frame.path, number).rstrip()) for number in numbers]
    low, high = found[0][0], found[-1][0]
    # Two blank lines end a function (PEP 8).
    for (_, line), (number, following) in pairwise(found):
        if not line and not following and number < frame.line:
            low = number + 1
        elif not line and not following and number > frame.line:
            high = min(high, number - 2)
    kept = [(number, line) for number, line in found if low <= number <= high]
    while kept and not kept[-1][1] and kept[-1][0] > frame.line:
        kept.pop()
    margin = min((len(line) - len(line.lstrip()) for _, line in kept if line), default=0)
    return [(number, line[margin:]) for number, line in kept]


def _folded(run: Sequence[Frame]) -> str:
    """Return one line for frames of libraries: how many, of which."""
    names = dict.fromkeys(_library(frame.file) for frame in run)
    shown = ", ".join(list(names)[:5]) + (", …" if len(names) > 5 else "")
    return f"… {len(run)} {'frame' if len(run) == 1 else 'frames'} in {shown} …"


def _library(file: str) -> str:
    if file.startswith("<"):
        return "generated code"
    if file.startswith("/"):
        return Path(file).stem
    return file.partition("/")[0].removesuffix(".py")


def _hanging(text: str, indent: str) -> Iterator[str]:
    """Yield a text's lines; those after its first stand back, and none looks like a frame."""
    first, *others = text.split("\n")
    yield indent + first
    yield from (f"{indent}  {line}" for line in others)


def _sequence(error: BaseException, name: str) -> Sequence[object]:
    """Return an attribute that holds a list or a tuple; an exception may hold anything there."""
    try:
        found = getattr(error, name, ())
    except Exception:
        return ()
    return found if type(found) in (list, tuple) else ()
