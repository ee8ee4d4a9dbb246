"""Mails as the database keeps them, and the errors that are in none yet."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail with the columns of the table ``mails``; see :mod:`.schema`.

    ``state`` is ``off`` if there is no mail server. ``source`` is the error's route or logger.
    """

    message_id: str
    kind: str
    fingerprint: str | None
    created: float
    count: int
    subject: str
    content: bytes
    recipients: tuple[str, ...]
    state: str = "waiting"
    source: str = ""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail that waits: ``content`` is the whole message.

    ``recipients`` is who has not received it yet; empty means all of ADMINS.
    """

    id: int
    content: bytes
    recipients: tuple[str, ...]
    tries: int


@dataclass(frozen=True, slots=True)
class PendingErrors:
    """Identical errors that are in no mail yet.

    ``first`` is the time of the first one, ``last_mail`` of the last mail about that fingerprint,
    in seconds since the epoch. ``source`` is the route or logger. ``is_back`` is true if the error
    has come back after it was resolved, and no mail has said so.
    """

    fingerprint: str
    first: float
    last_mail: float | None
    source: str = ""
    is_back: bool = False


def recipients_of(text: object) -> tuple[str, ...]:
    """Return the addresses in a column ``recipients``, none if it is damaged."""
    try:
        found = json.loads(text)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        return ()
    good = isinstance(found, list) and all(isinstance(one, str) and one.isascii() for one in found)
    return tuple(found) if good else ()
