"""Waits for PostgreSQL no longer than a visitor would: a frozen server is as good as none.

psycopg2 waits without an end, in C, for a server that is there and does not answer. With a wait
callback it waits here instead.
https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries

Where each request waited that long, all threads would soon wait, and visitors for a thread: once
one has found the server silent, one at a time waits for it, and the others only for as long as a
server takes that is there.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import psycopg2
from psycopg2 import extensions
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext

CONNECT_WITHIN: Final = 2.0  # seconds for a new connection, log-in included
PING_WITHIN: Final = 1.5  # seconds for the first statement of a connection from the pool
LOOK: Final = 2.0  # seconds of a statement's silence until the server is asked whether it is there
HURRIED_WITHIN: Final = 0.2  # seconds for a new connection to a server that was silent


class Unanswered(psycopg2.OperationalError):
    """The server has not answered in time."""


class Connection(extensions.connection):
    """A connection that knows how long its next answer may take, in seconds."""

    within: float | None = CONNECT_WITHIN
    connect_again: Callable[[], Connection]


class HurriedConnection(Connection):
    """One to a server that was silent a moment ago: it answers at once, or not at all."""

    within: float | None = HURRIED_WITHIN


class Server:
    """An engine's server, and whether it was silent when it was asked last."""

    def __init__(self) -> None:
        self._silent = False
        self._patient = threading.Lock()

    def connect(
        self, dialect: Any, record: object, arguments: Any, options: Any, hurried: bool = True
    ) -> Connection:
        """Connect, for SQLAlchemy; ``hurried`` where the server is silent and another waits."""
        if not self._silent or not hurried:
            return self._connect(dialect, record, arguments, options)
        if not self._patient.acquire(blocking=False):
            options = {**options, "connection_factory": HurriedConnection}
            return self._connect(dialect, record, arguments, options)
        try:
            return self._connect(dialect, record, arguments, options)
        finally:
            self._patient.release()

    def _connect(self, dialect: Any, record: object, arguments: Any, options: Any) -> Connection:
        begun = time.monotonic()
        try:
            connection: Connection = dialect.connect(*arguments, **options)
        except psycopg2.Error:
            self._silent = time.monotonic() - begun >= options["connection_factory"].within
            raise
        self._silent = False
        options = {**options, "connection_factory": Connection}
        again = partial(self.connect, dialect, record, arguments, options, hurried=False)
        connection.connect_again = again
        return connection


def install(engine: Engine) -> None:
    """Bound the waits of an engine whose connections are made by :class:`Connection`."""
    extensions.set_wait_callback(_wait)
    event.listen(engine, "do_connect", Server().connect)
    event.listen(engine, "checkin", _expect_ping)
    event.listen(engine, "handle_error", _disconnect)


def _wait(connection: Any) -> None:
    """Wait until the connection has its answer; raise :exc:`Unanswered` where that is too long."""
    within = getattr(connection, "within", None)
    deadline = time.monotonic() + (LOOK if within is None else within)
    while (state := connection.poll()) != extensions.POLL_OK:
        left = max(0.0, deadline - time.monotonic())
        reading = [connection] if state == extensions.POLL_READ else []
        writing = [connection] if state == extensions.POLL_WRITE else []
        try:
            ready = any(select.select(reading, writing, [], left))
        except (OSError, ValueError) as error:  # its socket is closed already
            raise Unanswered("the connection to the database server is broken") from error
        if not ready and within is not None:
            raise Unanswered(f"the database server has not answered within {within:g} s")
        if not ready:
            _make_sure_of_the_server(connection)
            deadline = time.monotonic() + LOOK
    if within is not None:
        connection.within = None  # it is awake; how long a statement may take, it knows itself


def _make_sure_of_the_server(connection: Any) -> None:
    """Tell a long statement from a frozen server: that answers no other connection either."""
    try:
        connection.connect_again().close()
    except Unanswered:
        raise
    except (AttributeError, psycopg2.Error):  # not ours; or refused, which is an answer
        return


def _expect_ping(connection: Any, record: object) -> None:
    del record
    if connection is not None:
        connection.within = PING_WITHIN


def _disconnect(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, Unanswered):
        context.is_disconnect = True
