"""The outages of the site, as they are stored in the database."""

from __future__ import annotations

from dataclasses import dataclass

from .database import Database


@dataclass(frozen=True, slots=True)
class Outage:
    """A time during which the site was down; ``ended`` is ``None`` while it lasts.

    Times are in seconds since the epoch. ``pages`` is how many error pages nginx sent meanwhile.
    """

    began: float
    ended: float | None
    pages: int = 0

    def seconds(self, since: float, until: float) -> float:
        """Return how many seconds of the outage are between two times."""
        ended = until if self.ended is None else self.ended
        return max(0.0, min(ended, until) - max(self.began, since))


def record_outage(database: Database, outage: Outage) -> None:
    """Insert an outage, or update the one that began at the same time.

    Any process may: outages need no lease. Raises :exc:`sqlite3.Error`.
    """
    with database.transaction():
        database.connection.execute(
            "INSERT INTO outages VALUES (?, ?, ?) ON CONFLICT (began)"
            " DO UPDATE SET ended = excluded.ended, pages = excluded.pages",
            (outage.began, outage.ended, outage.pages),
        )


def outages_between(database: Database, since: float, until: float) -> list[Outage]:
    """Return the outages of which any part is between two times, the earliest first."""
    rows = database.connection.execute(
        "SELECT began, ended, pages FROM outages"
        " WHERE began < ? AND coalesce(ended, ?) > ? ORDER BY began",
        (until, until, since),
    )
    return [Outage(*row) for row in rows.fetchall()]
