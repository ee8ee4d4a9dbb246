"""The state that watch keeps across restarts, in one file of the spool's folder."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ..spool.ownership import make_folder, open_file

NAME: Final = "watch.json"
# The names in files of earlier versions, and the current ones.
EARLIER_NAMES: Final = {"last_well": "last_up", "was_well": "was_up"}
EARLIER_PHASES: Final = {"away": "down", "well": "up"}


class Phase(StrEnum):
    """The state of the site: see :class:`.history.History`."""

    STARTING = "starting"
    UP = "up"
    FAILING = "failing"
    DOWN = "down"


@dataclass(slots=True)
class ErrorPages:
    """Error pages that nginx sent in the app's place: all are counted, the first are listed."""

    statuses: dict[str, int] = field(default_factory=dict)  # how many, by status
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.statuses.values())


@dataclass(slots=True)
class WatchState:
    """What watch remembers. Times are in seconds since the epoch.

    ``began`` and ``ended`` are the times of the first failed and the first successful check of the
    current or last outage. ``last_up`` is when the site was last up, or when watch started
    if that is later; ``was_up`` is whether the site ever was up. ``seen`` holds the last failed
    checks, ``recent`` the ends of the last outages. ``pages`` are the error pages sent since
    ``counted_from``, which belong to the current outage; ``loose`` are those that belong to none
    yet. ``offsets`` is how far each of nginx's files was read. ``unsent`` holds the reports, in
    JSON, that are neither in the spool nor mailed. ``raised`` is when each condition that lasts
    was last reported, by its name.
    """

    phase: Phase = Phase.STARTING
    began: float = 0.0
    ended: float = 0.0
    last_up: float = 0.0
    was_up: bool = False
    counted_from: float = 0.0
    seen: list[tuple[float, str]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    pages: ErrorPages = field(default_factory=ErrorPages)
    loose: list[dict[str, Any]] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)
    raised: dict[str, float] = field(default_factory=dict)


class StateFile:
    """The file of the state in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._saved = ""

    def load(self) -> WatchState:
        """Return the state that was saved last; a new one if that is missing or unreadable."""
        with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            text = self.path.read_text(encoding="utf-8")
            known = json.loads(text)
            known |= {new: known[old] for old, new in EARLIER_NAMES.items() if old in known}
            fields = {name: known[name] for name in WatchState.__slots__ if name in known}
            phase = fields["phase"]
            fields["phase"] = Phase(EARLIER_PHASES.get(phase, phase))
            fields["pages"] = ErrorPages(**fields["pages"])
            fields["seen"] = [(when, what) for when, what in fields["seen"]]
            return WatchState(**fields)
        return WatchState()

    def save(self, state: WatchState) -> None:
        """Write the state if it has changed. Raises :exc:`OSError`."""
        text = json.dumps(asdict(state))
        if text == self._saved and self.path.exists():
            return
        new = self.path.with_suffix(".new")
        make_folder(self.path.parent)
        with open(open_file(new, os.O_TRUNC, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, self.path)
        self._saved = text
