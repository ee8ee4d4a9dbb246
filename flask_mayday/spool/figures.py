"""The figures of a spool for monitoring: how much waits, and how much was delivered or refused."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .database import WAITING_SINCE
from .error_group import State
from .inventory import open_read_only
from .outbox import Outbox
from .posts import WAITING_SINCE as POSTS_WAITING_SINCE

# The counters in the database, which only grow: mails and messages to the webhook.
MAILS_DELIVERED: Final = "mails_delivered"
MAILS_REFUSED: Final = "mails_refused"
POSTS_DELIVERED: Final = "posts_delivered"

REPORTS: Final = "SELECT count(*), min(time) FROM reports WHERE mail_id IS NULL AND mailable"
MAILS: Final = WAITING_SINCE.replace("SELECT ", "SELECT count(*), ", 1)
POSTS: Final = POSTS_WAITING_SINCE.replace("SELECT ", "SELECT count(*), ", 1)
GROUPS: Final = "SELECT state, count(*), sum(count) FROM error_groups GROUP BY state"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many of one kind wait; ``since`` is when the oldest began to wait, as Unix time."""

    count: int = 0
    since: float | None = None


@dataclass(slots=True)
class SpoolFigures:
    """The figures of one spool.

    ``waiting`` has the kinds ``file`` (of reports that no courier has read), ``report`` (without a
    mail), ``mail`` and ``webhook``. ``groups`` and ``errors`` are how many error groups are in
    each state, and how many errors are in those groups. ``counters`` are those that only grow, by
    their names, and ``bytes`` the size of the folder.
    """

    waiting: dict[str, Waiting]
    groups: dict[str, int]
    errors: dict[str, int]
    counters: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


def read_figures(outbox: Outbox) -> SpoolFigures:
    """Return the figures of a spool, without writing anything.

    Raises :exc:`sqlite3.Error` or :exc:`OSError` if it cannot be read.
    """
    kinds = ("file", "report", "mail", "webhook")
    figures = SpoolFigures(
        dict.fromkeys(kinds, Waiting()), dict.fromkeys(State, 0), dict.fromkeys(State, 0)
    )
    figures.bytes = _bytes_in(outbox.folder)
    figures.waiting["file"] = _waiting_files(outbox.incoming.waiting())
    with open_read_only(outbox.path) as connection:
        if connection is not None:
            _read_database(connection, figures)
    return figures


def _read_database(connection: sqlite3.Connection, figures: SpoolFigures) -> None:
    for kind, query in (("report", REPORTS), ("mail", MAILS), ("webhook", POSTS)):
        figures.waiting[kind] = Waiting(*connection.execute(query).fetchone())
    for state, groups, errors in connection.execute(GROUPS):
        if state in figures.groups:  # else it is a later version's
            figures.groups[state], figures.errors[state] = groups, errors
    names = (MAILS_DELIVERED, MAILS_REFUSED, POSTS_DELIVERED)
    query = "SELECT name, value FROM counters WHERE name IN (?, ?, ?)"
    figures.counters = dict.fromkeys(names, 0) | dict(connection.execute(query, names))


def _waiting_files(paths: list[Path]) -> Waiting:
    times = []
    for path in paths:
        with suppress(FileNotFoundError):  # a courier has just read it
            times.append(path.stat().st_mtime)
    return Waiting(len(times), min(times, default=None))


def _bytes_in(folder: Path) -> int:
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(root, name)).st_size
    return size
