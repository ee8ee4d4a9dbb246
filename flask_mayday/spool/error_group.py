"""An error group: identical errors, and the states that they go through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The states of an error group."""

    NEW = "new"  # it has no mail yet, or has not occurred again since its first one
    KNOWN = "known"  # it has occurred again since its first mail
    MUTED = "muted"  # recorded and counted, and not mailed
    RESOLVED = "resolved"  # it is not expected to occur again
    BACK = "back"  # it has occurred after it was resolved


class Event(StrEnum):
    """What can happen to an error group."""

    ERROR = "an error before the first mail"
    REPEAT = "an error after the first mail"
    IGNORED = "an error that a rule hides"
    MUTE = "an operator mutes it"
    UNMUTE = "an operator unmutes it, or its mute is over"
    RESOLVE = "an operator resolves it"


# The state after each event, by the state before. BEFORE stands for the state before the mute.
BEFORE: Final = None
TRANSITIONS: Final[dict[State, dict[Event, State | None]]] = {
    State.NEW: {
        Event.ERROR: State.NEW,
        Event.REPEAT: State.KNOWN,
        Event.IGNORED: State.NEW,
        Event.MUTE: State.MUTED,
        Event.UNMUTE: State.NEW,
        Event.RESOLVE: State.RESOLVED,
    },
    State.KNOWN: {
        Event.ERROR: State.KNOWN,
        Event.REPEAT: State.KNOWN,
        Event.IGNORED: State.KNOWN,
        Event.MUTE: State.MUTED,
        Event.UNMUTE: State.KNOWN,
        Event.RESOLVE: State.RESOLVED,
    },
    State.MUTED: {
        Event.ERROR: State.MUTED,
        Event.REPEAT: State.MUTED,
        Event.IGNORED: State.MUTED,
        Event.MUTE: State.MUTED,
        Event.UNMUTE: BEFORE,
        Event.RESOLVE: State.RESOLVED,
    },
    State.RESOLVED: {
        Event.ERROR: State.BACK,
        Event.REPEAT: State.BACK,
        Event.IGNORED: State.RESOLVED,
        Event.MUTE: State.MUTED,
        Event.UNMUTE: State.RESOLVED,
        Event.RESOLVE: State.RESOLVED,
    },
    State.BACK: {
        Event.ERROR: State.BACK,
        Event.REPEAT: State.BACK,
        Event.IGNORED: State.BACK,
        Event.MUTE: State.MUTED,
        Event.UNMUTE: State.BACK,
        Event.RESOLVE: State.RESOLVED,
    },
}

MUTED: Final = "muted"  # why an error is hidden
IGNORED: Final = "ignored"


@dataclass(slots=True)
class ErrorGroup:
    """A row of ``error_groups``; the fields are its columns. Times are in seconds since the epoch.

    ``title`` is the type and the masked message of the first error, ``source`` its route or logger.
    ``count`` includes ``hidden``, the errors that were muted or ignored. ``mails`` counts those
    that report or count this error. ``muted_until`` or ``muted_release`` say when a mute ends, and
    ``muted_count`` how many errors it has hidden. ``back_unsaid`` is true from the error that came
    back until the mail that says so. ``week_count`` and ``week_hidden`` are ``count`` and
    ``hidden`` as the last weekly summary has seen them.
    """

    fingerprint: str
    state: State = State.NEW
    title: str = ""
    source: str = ""
    count: int = 0
    hidden: int = 0
    mails: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    first_release: str = ""
    last_release: str = ""
    state_before: str = ""
    muted_at: float | None = None
    muted_until: float | None = None
    muted_release: str = ""
    muted_count: int = 0
    resolved_at: float | None = None
    resolved_release: str = ""
    back_at: float | None = None
    back_unsaid: bool = False
    week_count: int = 0
    week_hidden: int = 0

    def occur(self, time: float, release: str, *, ignored: bool = False) -> str | None:
        """Count an error; return why it is not mailed (``muted``, ``ignored``), else ``None``."""
        if not self.count or time < self.first_seen:
            self.first_seen, self.first_release = time, release
        if not self.count or time >= self.last_seen:
            self.last_seen, self.last_release = time, release
        self.count += 1
        self.end_mute(time, release)
        if ignored:
            self.hidden += 1
            self._apply(Event.IGNORED)
            return IGNORED
        if self.state is State.MUTED:
            self.hidden += 1
            self.muted_count += 1
            return MUTED
        if self.state is State.RESOLVED:
            if time <= (self.resolved_at or 0.0):
                return None  # it occurred before, and was recorded late
            self.back_at, self.back_unsaid = time, True
        self._apply(Event.REPEAT if self.mails else Event.ERROR)
        return None

    def mute(self, now: float, until: float | None = None, release: str = "") -> None:
        """Mute the group until a time, until an error of another release, or until unmuted.

        A second mute changes only when it ends: hidden errors are still counted from the first.
        """
        if self.state is not State.MUTED:
            self.state_before = self.state
            self.muted_at, self.muted_count = now, 0
        self.muted_until, self.muted_release = until, release
        self._apply(Event.MUTE)

    def unmute(self) -> None:
        """End a mute; the next error is mailed."""
        self._apply(Event.UNMUTE)
        self.muted_until, self.muted_release = None, ""

    def resolve(self, now: float, release: str) -> None:
        """Record that the error is fixed; if it occurs again, it is reported as back."""
        self._apply(Event.RESOLVE)
        self.muted_until, self.muted_release = None, ""
        self.resolved_at, self.resolved_release = now, release
        self.back_unsaid = False

    def end_mute(self, now: float, release: str = "") -> None:
        """End a mute that is over at the time ``now``, or with an error of ``release``."""
        if self.state is not State.MUTED:
            return
        is_expired = self.muted_until is not None and now >= self.muted_until
        is_other_release = bool(self.muted_release and release and release != self.muted_release)
        if is_expired or is_other_release:
            self.unmute()

    def _apply(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state][event] or State(self.state_before or State.KNOWN)
