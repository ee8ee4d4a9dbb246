"""What a courier tells the others and asks them, and what it learns. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SUMMARY: Final = ""  # the fingerprint of claims of summaries


@dataclass(frozen=True, slots=True)
class Tally:
    """How many errors of a fingerprint a node has recorded in a window, and not reported.

    ``first`` and ``last`` are their times since the epoch, ``title`` says what they are.
    """

    fingerprint: str
    window: int
    number: int
    first: float
    last: float
    title: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """An error that is to be mailed now, if the others agree.

    ``known`` is the window that this node knows. ``repeats`` says whether its errors are repeats
    within that window. ``force`` asks for the mail although the window is not over.
    """

    fingerprint: str
    source: str
    known: int | None = None
    repeats: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """All that a node tells and asks at once.

    ``tallies`` are all of its counts in windows that it does not know to be closed. ``mine`` are
    the windows whose mails wait here. ``awaited`` are those whose mails other nodes make.
    """

    tallies: tuple[Tally, ...] = ()
    wishes: tuple[Wish, ...] = ()
    mine: frozenset[int] = frozenset()
    awaited: frozenset[int] = frozenset()
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A window, which a mail has opened. ``age`` is since then; ``previous`` is the one before."""

    window: int
    fingerprint: str
    node: str
    previous: int | None
    age: float
    is_sent: bool
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A mail that this node is to make. ``tallies`` are the counts of all nodes, if it has any."""

    window: int
    fingerprint: str
    previous: int | None
    tallies: tuple[Tally, ...] = ()


@dataclass(slots=True)
class Answer:
    """What a node learns.

    ``claims`` are its own from now on. ``windows`` holds the current one of each fingerprint.
    ``closed`` maps the fingerprint and window of each tally that is in a mail to that mail's window
    and the number that is in it. ``held`` are the fingerprints for which the hourly cap leaves no
    mail, to be counted in ``summary_window``; the next summary is due in ``summary_in``.
    ``awaited`` holds the windows that were asked for.
    """

    claims: list[Claim] = field(default_factory=list)
    windows: dict[str, Window] = field(default_factory=dict)
    closed: dict[tuple[str, int], tuple[Window, int]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    summary_window: int = 0
    summary_in: float = 0.0
    awaited: dict[int, Window] = field(default_factory=dict)
