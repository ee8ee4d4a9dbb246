"""Waits for servers that are slow to confirm a mail, while other mails are delivered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from .smtp_connection import Connection, Reply

PATIENCE: Final = 600.0  # seconds for the reply to a whole mail (RFC 5321, 4.5.3.2.6)
WAITS_AT_ONCE: Final = 3

Outcome = TypeVar("Outcome")
Mail = TypeVar("Mail")


class PendingReply(Generic[Outcome]):
    """The awaited reply to a mail that was sent in full, on a connection of its own.

    ``judge`` returns the outcome for a reply, or for ``None`` if none came within ``PATIENCE``
    seconds or the connection broke.
    """

    def __init__(self, connection: Connection, judge: Callable[[Reply | None], Outcome]) -> None:
        self._connection = connection
        self._judge = judge
        self._until = time.monotonic() + PATIENCE

    def poll(self) -> Outcome | None:
        """Return the outcome, or ``None`` while the reply may still come. Does not block."""
        try:
            reply = self._connection.read_reply(0)
        except TimeoutError:
            if time.monotonic() < self._until:
                return None
            reply = None
        except OSError:
            reply = None
        self.close()
        return self._judge(reply)

    def close(self) -> None:
        """Give up waiting; whether the mail was delivered stays unknown."""
        self._connection.close()


class PendingReplies(Generic[Mail, Outcome]):
    """The mails whose replies are awaited, by their ids: at most three at once."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Mail, PendingReply[Outcome]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further mail may be sent until a reply has come."""
        return len(self._waiting) >= WAITS_AT_ONCE

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, mail_id: int) -> bool:
        return mail_id in self._waiting

    def add(self, mail_id: int, mail: Mail, reply: PendingReply[Outcome]) -> None:
        """Wait for the reply to ``mail`` from now on."""
        self._waiting[mail_id] = (mail, reply)

    def settled(self) -> list[tuple[Mail, Outcome]]:
        """Return, once, each mail whose outcome is known now, and that outcome."""
        found = []
        for mail_id, (mail, reply) in list(self._waiting.items()):
            outcome = reply.poll()
            if outcome is not None:
                del self._waiting[mail_id]
                found.append((mail, outcome))
        return found

    def close(self) -> None:
        """Give up waiting for all of them."""
        for _, reply in self._waiting.values():
            reply.close()
        self._waiting.clear()
