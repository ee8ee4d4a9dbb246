"""Reads an exception, and all that led to it, into the data of a report."""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from types import CodeType, TracebackType
from typing import Final

from ..context.error_text import exact, message_of_error
from .own_code import OwnCode
from .traceback_data import Frame, Frames, Link, RaisedException

FRAMES_AT_EACH_END: Final = 50
SOURCE_CONTEXT_LINES: Final = 3  # before and after the line that failed
MAX_EXCEPTIONS: Final = 10  # causes, contexts and members of groups
MAX_NOTES: Final = 10
NAME_LENGTH: Final = 200  # characters
SOURCE_LINE_LENGTH: Final = 200  # characters
CACHE_SIZE: Final = 2048  # frames
MAX_PATHS: Final = 256  # tracebacks whose frames are kept together

Clean = Callable[[str], str]


class FrameReader:
    """Reads the frames of tracebacks; each place in the code is read once in a process.

    A place is identified by its code object and instruction: Python searches a table for the line
    of an instruction, which takes longer than the rest. The caches keep the code objects alive, so
    that their ``id`` is not reused, and hold source that is not redacted yet.
    """

    def __init__(self, own_code: OwnCode) -> None:
        self.own_code = own_code
        self._cache: dict[tuple[int, int, bool], tuple[CodeType, Frame]] = {}
        self._paths: dict[tuple[int, ...], tuple[list[CodeType], Frames]] = {}

    def frames(self, trace: TracebackType | None) -> Frames:
        """Return the frames of a traceback; if it is very long, only those at both ends.

        Tracebacks of the same places share one object.
        """
        codes: list[CodeType] = []
        key: list[int] = []
        following = trace
        while following is not None:
            codes.append(code := following.tb_frame.f_code)
            key += (id(code), following.tb_lasti)
            if len(codes) > 2 * FRAMES_AT_EACH_END:
                return Frames(self._frames(trace))
            following = following.tb_next
        path = tuple(key)
        if found := self._paths.get(path):
            return found[1]
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        frames = Frames(self._frames(trace))
        self._paths[path] = (codes, frames)
        return frames

    def _frames(self, trace: TracebackType | None) -> list[Frame]:
        first: list[TracebackType] = []
        last: deque[TracebackType] = deque(maxlen=FRAMES_AT_EACH_END)
        count = 0
        while trace is not None:
            count += 1
            (first if count <= FRAMES_AT_EACH_END else last).append(trace)
            trace = trace.tb_next
        found = self._read(first, is_end=not last)
        if last:
            end = self._read(last, is_end=True)
            skipped = count - len(first) - len(last)
            found += [replace(end[0], skipped=skipped), *end[1:]]
        return found

    def _read(self, traces: Sequence[TracebackType], *, is_end: bool) -> list[Frame]:
        frames = [self._frame(trace, False) for trace in traces]
        if is_end and frames:
            frames[-1] = self._frame(traces[-1], True)
        runs = [list(run) for _, run in groupby(frames)]
        return [replace(run[0], times=len(run)) if len(run) > 1 else run[0] for run in runs]

    def _frame(self, trace: TracebackType, raising: bool) -> Frame:
        code = trace.tb_frame.f_code
        key = (id(code), trace.tb_lasti, raising)
        # Another thread may clear the cache at any time.
        if found := self._cache.get(key):
            return found[1]
        line = trace.tb_lineno or code.co_firstlineno
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        module = trace.tb_frame.f_globals.get("__name__")
        frame = self._new_frame(code, line, module if type(module) is str else "", raising)
        self._cache[key] = (code, frame)
        return frame

    def _new_frame(self, code: CodeType, line: int, module: str, raising: bool) -> Frame:
        location = self.own_code.locate(code.co_filename, module)
        first, source = 0, tuple[str, ...]()
        if location.own:
            first, source = _source(code, line, SOURCE_CONTEXT_LINES)
        elif raising:
            first, source = _source(code, line, 0)
        return Frame(
            file=location.shown[-NAME_LENGTH:],
            line=line,
            function=code.co_qualname[:NAME_LENGTH],
            own=location.own,
            first=first,
            source=source,
            stable=location.stable,
        )


def _source(code: CodeType, line: int, context: int) -> tuple[int, tuple[str, ...]]:
    """Return the lines of a function around ``line``, dedented, and the number of the first."""
    start, end = max(1, line - context), line + context
    if context and code.co_name != "<module>":
        lines = [last or first for first, last, _, _ in code.co_positions() if first is not None]
        start = max(start, min(code.co_firstlineno, line))
        end = min(end, max([line, *lines]))
    found = [
        linecache.getline(code.co_filename, number).rstrip() for number in range(start, end + 1)
    ]
    while found and not found[-1]:
        found.pop()
    margin = min((len(text) - len(text.lstrip()) for text in found if text), default=0)
    return start, tuple(text[margin:][:SOURCE_LINE_LENGTH] for text in found)


class ExceptionReader:
    """Reads one exception into a list of :class:`RaisedException`.

    ``clean`` redacts and bounds what an exception says, ``clean_source`` lines of source code.
    No variable and no object's ``repr`` is read: it may hold secrets unknown to the redactor.
    """

    def __init__(self, frames: FrameReader, clean: Clean, clean_source: Clean) -> None:
        self.frames = frames
        self.clean = clean
        self.clean_source = clean_source
        self._left = MAX_EXCEPTIONS
        self._shown: set[tuple[str, int]] = set()

    def read(self, error: BaseException) -> list[RaisedException]:
        """Return the exception with its causes, contexts and members, in the order of display."""
        return self._chain(error, 0)

    def _chain(self, error: BaseException, depth: int) -> list[RaisedException]:
        chain, complete = self._led_to(error)
        found: list[RaisedException] = []
        for one, link in reversed(chain):
            found += self._one(one, link, depth)
        if not complete:
            found[0] = replace(found[0], earlier_left_out=True)
        return found

    def _led_to(self, error: BaseException) -> tuple[list[tuple[BaseException, Link]], bool]:
        """Return the exception and what led to it, the latest first, and whether that is all."""
        chain: list[tuple[BaseException, Link]] = []
        seen: set[int] = set()
        link: Link = ""
        following: BaseException | None = error
        while following is not None and id(following) not in seen:
            if self._left <= 0:
                return chain or [(error, link)], False
            self._left -= 1
            seen.add(id(following))
            chain.append((following, link))
            cause, context = following.__cause__, following.__context__
            link = "cause" if cause is not None else "context"
            if cause is None and not following.__suppress_context__:
                cause = context
            following = cause  # not "cause or": an exception may be false
        return chain, True

    def _one(self, error: BaseException, link: Link, depth: int) -> list[RaisedException]:
        raised = RaisedException(
            text=self.clean(described(error)),
            frames=self._clean_frames(error.__traceback__),
            notes=tuple(self.clean(exact(note)) for note in _notes(error)),
            link=link,
            depth=depth,
        )
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        found: list[RaisedException] = []
        shown = 0
        for member in members:
            if self._left <= 0:
                break
            shown += 1
            chain = self._chain(member, depth + 1)
            found += [replace(chain[0], number=shown, of=len(members)), *chain[1:]]
        return [replace(raised, members_left_out=len(members) - shown), *found]

    def _clean_frames(self, trace: TracebackType | None) -> Frames:
        """Return frames with their source redacted, the same object for the same places."""
        frames = self.frames.frames(trace)
        is_first = not self._shown
        if is_first and (known := frames.cleaned) and known[0] == self.clean_source:
            _, cleaned, shown = known
            self._shown = set(shown)
            return cleaned
        cleaned = Frames(map(self._with_clean_source, frames))
        if is_first:
            # Another function masks with other secrets.
            frames.cleaned = (self.clean_source, cleaned, frozenset(self._shown))
        return cleaned

    def _with_clean_source(self, frame: Frame) -> Frame:
        """Redact the source of a frame; leave it out if this report shows it already."""
        if not frame.source:
            return frame
        place = (frame.stable, frame.line)
        if place in self._shown:
            return replace(frame, first=0, source=())
        self._shown.add(place)
        return replace(frame, source=tuple(self.clean_source("\n".join(frame.source)).split("\n")))


def described(error: BaseException) -> str:
    """Return the exception's type and message as the last line of a traceback has them."""
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"[:NAME_LENGTH]
    text = message_of_error(error)
    return f"{name}: {text}" if text else name


def _notes(error: BaseException) -> Iterator[object]:
    """Yield an exception's notes; ``__notes__`` may hold any object."""
    try:
        found = getattr(error, "__notes__", ())
    except Exception:
        return
    if type(found) in (list, tuple):
        yield from found[:MAX_NOTES]
