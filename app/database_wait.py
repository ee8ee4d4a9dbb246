"""Waits for PostgreSQL no longer than a visitor would: a frozen server is as good as none.

psycopg2 waits without an end, in C, for a server that is there and does not answer. With a wait
callback it waits here instead.
https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries
"""

from __future__ import annotations

import select
import time
from typing import Any, Final

import psycopg2
from psycopg2 import extensions
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext

CONNECT_WITHIN: Final = 2.0  # seconds for a new connection, log-in included
PING_WITHIN: Final = 1.5  # seconds for the first statement of a connection from the pool


class Unanswered(psycopg2.OperationalError):
    """The server has not answered in time."""


class Connection(extensions.connection):
    """A connection that knows how long its next answer may take, in seconds."""

    within: float | None = CONNECT_WITHIN


def install(engine: Engine) -> None:
    """Bound the waits of an engine whose connections are made by :class:`Connection`."""
    extensions.set_wait_callback(_wait)
    event.listen(engine, "checkin", _expect_ping)
    event.listen(engine, "handle_error", _disconnect)


def _wait(connection: Any) -> None:
    """Wait until the connection has its answer; raise :exc:`Unanswered` where that is too long."""
    within = getattr(connection, "within", None)
    deadline = None if within is None else time.monotonic() + within
    while (state := connection.poll()) != extensions.POLL_OK:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        reading = [connection] if state == extensions.POLL_READ else []
        writing = [connection] if state == extensions.POLL_WRITE else []
        try:
            ready = any(select.select(reading, writing, [], left))
        except (OSError, ValueError) as error:  # its socket is closed already
            raise Unanswered("the connection to the database server is broken") from error
        if not ready:
            raise Unanswered(f"the database server has not answered within {within:g} s")
    if within is not None:
        connection.within = None  # it is awake; how long a statement may take, it knows itself


def _expect_ping(connection: Any, record: object) -> None:
    del record
    if connection is not None:
        connection.within = PING_WITHIN


def _disconnect(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, Unanswered):
        context.is_disconnect = True
