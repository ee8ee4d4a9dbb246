"""After a wait for a lock has timed out, lets only one transaction at a time wait for locks.

Otherwise a locked table would soon occupy every thread, and pages without a query would wait too.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import psycopg2
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext

LOCK_NOT_AVAILABLE: Final = "55P03"
BLOCKED_FOR: Final = 5.0  # seconds for which waits are restricted after one has timed out
SHORT_WAIT: Final = 100  # milliseconds, for all transactions but the one that may wait
MAY_WAIT: Final = "may_wait_for_locks"


class LockWaits:
    """Shortens ``lock_timeout`` of the transactions of one engine while a lock is held too long."""

    def __init__(self) -> None:
        self._blocked_until = 0.0
        self._turn = threading.Lock()

    def watch(self, engine: Engine) -> None:
        """Watch the transactions of ``engine``, whose connections have a ``lock_timeout``."""
        event.listen(engine, "checkout", self._begin)
        event.listen(engine, "checkin", self._end)
        event.listen(engine, "handle_error", self._note_timeout)

    def _begin(self, connection: Any, record: Any, proxy: object) -> None:
        del proxy
        if time.monotonic() >= self._blocked_until:
            return
        if self._turn.acquire(blocking=False):
            record.record_info[MAY_WAIT] = True
            return
        try:
            with connection.cursor() as cursor:
                # Until the end of the transaction.
                cursor.execute(f"SET LOCAL lock_timeout = {SHORT_WAIT}")
        except psycopg2.Error:
            return  # the transaction's own statement is about to fail too

    def _end(self, connection: object, record: Any) -> None:
        del connection
        if record.record_info.pop(MAY_WAIT, False):
            self._turn.release()

    def _note_timeout(self, context: ExceptionContext) -> None:
        if getattr(context.original_exception, "pgcode", None) == LOCK_NOT_AVAILABLE:
            self._blocked_until = time.monotonic() + BLOCKED_FOR
