"""Rules that hide errors: by exception class, logger, route and message."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from .database import Database
from .stored_report import Facts

PATTERN_LENGTH: Final = 200  # characters of a pattern, at most
TEXT_LENGTH: Final = 1000  # characters of a text that are compared


@dataclass(slots=True)
class IgnoreRule:
    """A row of ``ignore_rules``: it hides the errors that match all of its patterns.

    ``exception`` is compared with the name of the class, without its module, and ``route`` with
    the route, with and without the method. In a pattern ``*`` stands for any text and ``?`` for any
    character; an empty pattern matches everything. ``hidden`` is how many errors the rule has
    hidden, ``last_hidden`` when it hid the last one, in seconds since the epoch.
    """

    id: int
    created: float
    exception: str = ""
    logger: str = ""
    route: str = ""
    message: str = ""
    hidden: int = 0
    last_hidden: float | None = None

    def matches(self, facts: Facts) -> bool:
        """Return whether the rule hides an error."""
        is_request = facts.where.startswith("at ")
        where = facts.where.removeprefix("at ")
        routes = (where, where.partition(" ")[2]) if is_request else ()
        return (
            _matches(self.exception, facts.type)
            and _matches(self.logger, facts.logger)
            and (not self.route or any(_matches(self.route, route) for route in routes))
            and _matches(self.message, facts.message)
        )

    def __str__(self) -> str:
        """Return the patterns as the options of ``flask mayday reports ignore`` name them."""
        named = {
            "exception": self.exception,
            "logger": self.logger,
            "route": self.route,
            "message": self.message,
        }
        return ", ".join(f"{name} {pattern}" for name, pattern in named.items() if pattern)


def _matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern; the time is bounded by the length of both."""
    # A bracket stands for itself. fnmatch never backtracks over a star that it has passed.
    return not pattern or fnmatchcase(text[:TEXT_LENGTH], pattern.replace("[", "[[]"))


def ignore_rules(database: Database) -> list[IgnoreRule]:
    """Return all rules, the oldest first."""
    rows = database.connection.execute(
        "SELECT id, created, exception, logger, route, message, hidden, last_hidden"
        " FROM ignore_rules ORDER BY id"
    )
    return [IgnoreRule(*row) for row in rows]


def add_rule(database: Database, rule: IgnoreRule) -> int:
    """Add a rule, within a transaction; return its number."""
    cursor = database.connection.execute(
        "INSERT INTO ignore_rules (created, exception, logger, route, message)"
        " VALUES (?, ?, ?, ?, ?)",
        (rule.created, rule.exception, rule.logger, rule.route, rule.message),
    )
    return int(cursor.lastrowid or 0)


def delete_rule(database: Database, number: int) -> bool:
    """Delete a rule; return whether there was one with that number."""
    with database.transaction():
        cursor = database.connection.execute("DELETE FROM ignore_rules WHERE id = ?", (number,))
    return cursor.rowcount == 1


def count_hidden(database: Database, rule: IgnoreRule, number: int, last: float) -> None:
    """Add to the number of errors that a rule has hidden; ``last`` is the time of the last one."""
    database.connection.execute(
        "UPDATE ignore_rules SET hidden = hidden + ?,"
        " last_hidden = max(coalesce(last_hidden, 0), ?) WHERE id = ?",
        (number, last, rule.id),
    )
