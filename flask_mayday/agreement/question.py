"""The data of an exchange between a courier and the others. Times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SUMMARY: Final = ""  # the fingerprint of claims of summaries


@dataclass(frozen=True, slots=True)
class Tally:
    """How many errors of a fingerprint a node has recorded in a window and not reported.

    ``first`` and ``last`` are the times of the first and the last one, since the epoch. ``title``
    is that of their error group.
    """

    fingerprint: str
    window: int
    count: int
    first: float
    last: float
    title: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An error that this node would mail now, if no other node does.

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
    """What a node sends in one exchange.

    ``tallies`` are all of its counts in windows that it does not know to be closed. ``mine`` are
    the windows whose mails wait on this node, ``awaited`` those whose mails other nodes make.
    ``is_leaving`` says that the last courier of this node is stopping.
    """

    tallies: tuple[Tally, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    mine: frozenset[int] = frozenset()
    awaited: frozenset[int] = frozenset()
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The window that a mail has opened, ``age`` seconds ago; ``previous`` is the one before it."""

    number: int
    fingerprint: str
    node: str
    previous: int | None
    age: float
    is_sent: bool
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A mail that this node makes. ``tallies`` are the counts of all nodes that it reports."""

    window: int
    fingerprint: str
    previous: int | None
    tallies: tuple[Tally, ...] = ()


@dataclass(slots=True)
class Answer:
    """What a node receives in one exchange.

    ``claims`` are the mails that it makes. ``windows`` holds the current window of each
    fingerprint. ``closed`` maps the fingerprint and window of each tally that is in a mail to that
    mail's window and to how many of its errors are in the mail. ``held`` are the fingerprints for
    which the hourly cap leaves no mail: they are counted in ``summary_window``, and the next
    summary is due in ``summary_in`` seconds. ``awaited`` holds the windows of
    :attr:`Question.awaited`.
    """

    claims: list[Claim] = field(default_factory=list)
    windows: dict[str, Window] = field(default_factory=dict)
    closed: dict[tuple[str, int], tuple[Window, int]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    summary_window: int = 0
    summary_in: float = 0.0
    awaited: dict[int, Window] = field(default_factory=dict)


def counts_in(counts: Mapping[int, list[Tally]], window: int | None) -> list[Tally]:
    """Return the counts of a window: ``None`` has none, and 0 is the first window of summaries."""
    return [] if window is None else counts.get(window, [])
