"""The exceptions of a report as data: what was raised, through which frames, from which source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

MAX_DEPTH: Final = 20  # of groups in groups, when read from JSON

# How an exception led to the next one in the list.
Link = Literal["", "cause", "context"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One call in a traceback, or several identical ones in a row.

    ``file`` is the path as it is shown and ``own`` whether it is the app's own code. ``source``
    holds the lines around ``line``; the first of them has the number ``first``. ``times`` is how
    often the call is repeated, ``skipped`` the number of frames that are left out before it.
    ``stable`` is the file as the fingerprint names it, and is not stored.
    """

    file: str
    line: int
    function: str
    own: bool
    first: int = 0
    source: tuple[str, ...] = ()
    times: int = 1
    skipped: int = 0
    stable: str = field(default="", compare=False)

    def place(self) -> str:
        """Return ``file:line in function``."""
        return f"{self.file}:{self.line} in {self.function}"

    def numbered_source(self) -> list[tuple[int, str]]:
        """Return the lines of the source, each with its number."""
        return list(enumerate(self.source, self.first))

    def to_dict(self) -> dict[str, object]:
        """Return the frame for JSON, without values that are their defaults."""
        known: dict[str, object] = {
            "file": self.file,
            "line": self.line,
            "function": self.function,
            "own": self.own,
        }
        if self.source:
            known |= {"first": self.first, "source": self.source}
        if self.times > 1:
            known["times"] = self.times
        if self.skipped:
            known["skipped"] = self.skipped
        return known

    @classmethod
    def from_dict(cls, known: Mapping[str, object]) -> Frame:
        """Return the frame that :meth:`to_dict` wrote; values of a wrong type are empty."""
        return cls(
            file=text_of(known.get("file")),
            line=_integer(known.get("line")),
            function=text_of(known.get("function")),
            own=known.get("own") is True,
            first=_integer(known.get("first")),
            source=_texts(known.get("source")),
            times=_integer(known.get("times"), 1),
            skipped=_integer(known.get("skipped")),
        )


T = TypeVar("T")


class Frames(tuple[Frame, ...]):
    """The frames of one traceback, which many reports share, and the cached results for them.

    Errors with different messages often took the same path through the code.
    ``cleaned`` holds the function that last redacted their source, the frames with redacted source,
    and the places of that source.
    """

    def __init__(self, _frames: Iterable[Frame] = ()) -> None:
        self.cleaned: tuple[object, Frames, frozenset[tuple[str, int]]] | None = None
        self._made: dict[object, Any] = {}

    def once(self, make: Callable[[tuple[Frame, ...]], T]) -> T:
        """Return ``make(frames)``; each function is called once."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made


def made_once(frames: tuple[Frame, ...], make: Callable[[tuple[Frame, ...]], T]) -> T:
    """Return ``make(frames)``, which is called once for frames that reports share."""
    return frames.once(make) if isinstance(frames, Frames) else make(frames)


@dataclass(frozen=True, slots=True)
class RaisedException:
    """One exception of a report.

    A report lists its exceptions as a traceback shows them: each cause or context before the
    exception that it led to (``link``), and the members of a group after the group, one ``depth``
    deeper. ``text`` is the type and the message. If this is the first exception of a group's
    member, ``number`` is the member's place in the group, and ``of`` the number of members.
    ``earlier_left_out`` says that causes before this one are not listed, ``members_left_out`` how
    many members are not.
    """

    text: str
    frames: tuple[Frame, ...] = ()
    notes: tuple[str, ...] = ()
    link: Link = ""
    depth: int = 0
    number: int = 0
    of: int = 0
    earlier_left_out: bool = False
    members_left_out: int = 0

    def to_json(self) -> str:
        """Return the exception as JSON, without values that are their defaults."""
        text = compact_json(self._without_frames())
        if not self.frames:
            return text
        return f'{text[:-1]},"frames":{made_once(self.frames, _json)}}}'

    def _without_frames(self) -> dict[str, object]:
        known: dict[str, object] = {"text": self.text}
        for name in ("notes", "link", "depth", "number", "of", *_OMISSIONS):
            if value := getattr(self, name):
                known[name] = value
        return known

    @classmethod
    def from_dict(cls, known: Mapping[str, object]) -> RaisedException:
        """Return the exception that :meth:`to_json` wrote; values of a wrong type are empty."""
        link = known.get("link")
        return cls(
            text=text_of(known.get("text")),
            frames=tuple(map(Frame.from_dict, mappings(known.get("frames")))),
            notes=_texts(known.get("notes")),
            link="cause" if link == "cause" else "context" if link == "context" else "",
            depth=max(0, min(_integer(known.get("depth")), MAX_DEPTH)),
            number=_integer(known.get("number")),
            of=_integer(known.get("of")),
            earlier_left_out=known.get("earlier_left_out") is True,
            members_left_out=_integer(known.get("members_left_out")),
        )


_OMISSIONS: Final = ("earlier_left_out", "members_left_out")


# Made once: json.dumps makes a new encoder in each call that asks for no spaces.
compact_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _json(frames: tuple[Frame, ...]) -> str:
    return compact_json([frame.to_dict() for frame in frames])


def mappings(value: object) -> list[dict[str, object]]:
    """Return the JSON objects in ``value`` if that is a list, else an empty list."""
    found = value if isinstance(value, list) else []
    return [item for item in found if isinstance(item, dict)]


def text_of(value: object) -> str:
    """Return a JSON value as text, empty if it is null or missing."""
    return "" if value is None else str(value)


def _integer(value: object, default: int = 0) -> int:
    return value if type(value) is int else default


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
