"""A connection to PostgreSQL on which no call takes longer than a few seconds."""

from __future__ import annotations

import logging
import random
import re
import select
import time
from collections.abc import Mapping
from typing import Any, Final

from ..settings import AgreementSettings

CALL_TIMEOUT: Final = 3.0  # seconds for connecting, and for each call
IDLE_TIMEOUT: Final = 5.0  # seconds after which an unused connection is closed
RETRY_AFTER: Final = (1.0, 15.0)  # seconds: the first and the longest wait after a failure
BUSY_PATIENCE: Final = 10.0  # seconds for which a node waits for a busy server
BUSY_PAUSES: Final = (0.2, 1.5)  # seconds
BUSY_CODES: Final = ("57014", "55P03", "53300")  # cancelled, lock not available, too many
SCHEME: Final = re.compile(r"^postgres\w*(\+\w+)?:")

logger = logging.getLogger(__name__)


class UnreachableError(Exception):
    """PostgreSQL does not answer, or the tables cannot be used."""


class BusyError(UnreachableError):
    """PostgreSQL has no free connection, or others hold the lock: try again soon."""


class Connection:
    """Sends calls to a database. Only one thread may use it.

    The connection is asynchronous in psycopg2's terms: otherwise a server that is frozen in the
    middle of a reply would block the caller. It is closed when it has not been used for a while, so
    that idle nodes hold no connection.
    """

    def __init__(self, settings: AgreementSettings) -> None:
        self.settings = settings
        self.unreachable_since: float | None = None  # seconds since the epoch
        self.reason = ""
        self.back_at = 0.0  # time.monotonic() of the first success after a failure
        self._connection: Any = None
        self._used = 0.0
        self._failures = 0
        self._busy_since = 0.0  # time.monotonic()
        self._next_try = 0.0

    def call(
        self, statements: str, values: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run statements and return the rows of the last one. Raises :exc:`UnreachableError`.

        After a failure, all calls fail at once until it is time to try again.
        """
        if time.monotonic() < self._next_try:
            raise (BusyError if self._busy_since else UnreachableError)(self.reason)
        import psycopg2

        deadline = time.monotonic() + CALL_TIMEOUT
        try:
            if self._connection is None:
                self._connection = self._connect(deadline)
            cursor = self._connection.cursor()
            cursor.execute(statements, values)
            self._wait(deadline)
            rows = cursor.fetchall() if cursor.description else []
        except (psycopg2.Error, OSError) as error:
            self.close()
            if _is_busy(error) and self._may_wait():
                self._next_try = time.monotonic() + random.uniform(*BUSY_PAUSES)  # noqa: S311
                self.reason = _words(error)
                raise BusyError(self.reason) from error
            self._fail(error)
            raise UnreachableError(self.reason) from error
        self._used = time.monotonic()
        if self.unreachable_since is not None:
            logger.warning("The couriers agree again: PostgreSQL answers")
            self.unreachable_since, self.back_at = None, time.monotonic()
        self._failures, self._busy_since = 0, 0.0
        return rows

    def check(self) -> None:
        """After a failure, try again. Raises :exc:`UnreachableError`."""
        if self.unreachable_since is not None:
            self.call("SELECT 1")

    def close_if_idle(self) -> None:
        """Close the connection if it has not been used for a while."""
        if self._connection is not None and time.monotonic() - self._used > IDLE_TIMEOUT:
            self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, deadline: float) -> Any:
        import psycopg2

        self._connection = psycopg2.connect(
            SCHEME.sub("postgresql:", self.settings.url or ""),
            async_=True,
            application_name=f"mayday {self.settings.node}"[:60],
            tcp_user_timeout=int(CALL_TIMEOUT * 1000),
            user=self.settings.user or None,
            password=self.settings.password or None,
        )
        self._wait(deadline)
        return self._connection

    def _wait(self, deadline: float) -> None:
        """Wait until the server has answered. Raises :exc:`TimeoutError` after ``deadline``."""
        from psycopg2.extensions import POLL_OK, POLL_READ

        poll = select.poll()
        while (state := self._connection.poll()) != POLL_OK:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply within {CALL_TIMEOUT:.0f} s")
            wanted = select.POLLIN if state == POLL_READ else select.POLLOUT
            descriptor = self._connection.fileno()
            poll.register(descriptor, wanted)
            poll.poll(left * 1000)
            poll.unregister(descriptor)

    def _may_wait(self) -> bool:
        """Return whether to wait for a busy server: only for a while, and not after a failure."""
        self._busy_since = self._busy_since or time.monotonic()
        is_short = time.monotonic() - self._busy_since < BUSY_PATIENCE
        if self.unreachable_since is not None or not is_short:
            self._busy_since = 0.0
            return False
        return True

    def _fail(self, error: Exception) -> None:
        self._busy_since = 0.0
        self._failures += 1
        first, longest = RETRY_AFTER
        wait = min(longest, first * 2.0 ** min(self._failures - 1, 10))
        self._next_try = time.monotonic() + wait * random.uniform(0.5, 1.0)  # noqa: S311
        self.reason = _words(error)
        if self.unreachable_since is None:
            self.unreachable_since = time.time()
            logger.warning("The couriers cannot agree, so this one decides alone: %s", self.reason)


def _is_busy(error: Exception) -> bool:
    """Return whether a wait for the lock was cancelled, or the server has too many connections.

    psycopg2 has no code for an error while it connects, only the server's words.
    """
    return getattr(error, "pgcode", None) in BUSY_CODES or "too many" in str(error)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
