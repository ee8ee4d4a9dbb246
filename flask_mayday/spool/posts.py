"""The posts: messages to the webhook, whose states are independent of those of the mails."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .database import Database

WAITING_SINCE: Final = "SELECT min(created) FROM posts WHERE state = 'waiting'"


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A message that waits. ``key`` stays the same however often it is posted."""

    id: int
    key: str
    message: Mapping[str, Any]
    tries: int


def add_post(
    database: Database,
    key: str,
    kind: str,
    fingerprint: str | None,
    created: float,
    count: int,
    message: Mapping[str, object],
) -> None:
    """Add a message that is due at once, within a transaction."""
    database.connection.execute(
        "INSERT OR IGNORE INTO posts (key, kind, fingerprint, created, count, message, next_try)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key, kind, fingerprint, created, count, json.dumps(message), created),
    )


def due_posts(database: Database, now: float, longest_wait: float) -> list[StoredPost]:
    """Return the messages to post now, those with the fewest tries first.

    A message that would wait longer than ``longest_wait`` seconds is due too: the clock must have
    been set back.
    """
    rows = database.connection.execute(
        "SELECT id, key, message, tries FROM posts"
        " WHERE state = 'waiting' AND NOT (next_try > ? AND next_try <= ?)"
        " ORDER BY tries, id LIMIT 100",
        (now, now + longest_wait),
    )
    return [StoredPost(row[0], row[1], _message(row[2]), row[3]) for row in rows.fetchall()]


def next_post(database: Database) -> float | None:
    """Return when the next message is due, or ``None`` if none waits."""
    query = "SELECT min(next_try) FROM posts WHERE state = 'waiting'"
    found = database.connection.execute(query).fetchone()[0]
    return None if found is None else float(found)


def finish_post(database: Database, post: StoredPost) -> None:
    """Record that a message was delivered."""
    with database.transaction():
        database.connection.execute(
            "UPDATE posts SET state = 'delivered', tries = tries + 1, finished = ?, error = NULL"
            " WHERE id = ?",
            (time.time(), post.id),
        )
        database.add_to_counter("week_posted", 1)
        database.add_to_counter("posts_delivered", 1)


def has_posted_since(database: Database, post: StoredPost) -> bool:
    """Return whether any message was delivered after this one was made."""
    (found,) = database.connection.execute(
        "SELECT EXISTS (SELECT 1 FROM posts WHERE state = 'delivered' AND finished >="
        " (SELECT created FROM posts WHERE id = ?))",
        (post.id,),
    ).fetchone()
    return bool(found)


def postpone_post(database: Database, post: StoredPost, until: float, error: str) -> None:
    """Record why a message was not delivered, and when to try again."""
    with database.transaction():
        database.connection.execute(
            "UPDATE posts SET tries = tries + 1, next_try = ?, error = ? WHERE id = ?",
            (until, error, post.id),
        )


def postpone_all_posts(database: Database, until: float, error: str) -> None:
    """Record why nothing can be posted, and try nothing before ``until``."""
    with database.transaction():
        database.connection.execute(
            "UPDATE posts SET next_try = ?, error = ? WHERE state = 'waiting' AND next_try < ?",
            (until, error, until),
        )


def postpone_new_posts(database: Database) -> None:
    """Postpone new messages until the next try of the others."""
    with database.transaction():
        database.connection.execute(
            "UPDATE posts SET next_try = earlier.next_try, error = earlier.error FROM"
            " (SELECT next_try, error FROM posts WHERE state = 'waiting' AND error IS NOT NULL"
            " ORDER BY next_try LIMIT 1) AS earlier WHERE state = 'waiting' AND posts.error IS NULL"
        )


def replace_message(database: Database, post: StoredPost, message: Mapping[str, object]) -> None:
    """Replace a message that the receiver refuses because of its content."""
    with database.transaction():
        database.connection.execute(
            "UPDATE posts SET message = ? WHERE id = ?", (json.dumps(message), post.id)
        )


def posts_by_state(database: Database) -> dict[str, int]:
    """Return how many messages are in each state."""
    query = "SELECT state, count(*) FROM posts GROUP BY state"
    return dict(database.connection.execute(query).fetchall())


def last_problem(database: Database) -> tuple[int, float, str] | None:
    """Return tries, next try and error of the oldest waiting message that has failed, if any."""
    row: tuple[int, float, str] | None = database.connection.execute(
        "SELECT tries, next_try, error FROM posts WHERE state = 'waiting' AND error IS NOT NULL"
        " ORDER BY id LIMIT 1"
    ).fetchone()
    return row


def posts_wait_since(database: Database) -> float | None:
    """Return when the oldest waiting message was made, or ``None`` if none waits."""
    since: float | None = database.connection.execute(WAITING_SINCE).fetchone()[0]
    return since


def retry_posts(database: Database) -> int:
    """Make every message due now; return how many waited for another try."""
    with database.transaction():
        return database.connection.execute(
            "UPDATE posts SET next_try = 0 WHERE state = 'waiting' AND next_try > 0"
        ).rowcount


def _message(text: object) -> Mapping[str, Any]:
    """Return a stored message, or a placeholder if it is damaged."""
    try:
        found = json.loads(text)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"subject": "A damaged message in the spool"}
