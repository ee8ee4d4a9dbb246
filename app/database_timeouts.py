"""Time limits for PostgreSQL: a server that hangs is treated like one that is down.

psycopg2 waits for its server in C and without a time limit. With a wait callback it waits here.
https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries

If every request waited for the full time limit while the server hangs, all threads would soon be
busy. So after the first timeout only one thread at a time waits that long; others give up early.
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

# In seconds:
CONNECT_TIMEOUT: Final = 2.0  # for a new connection, with its login
SHORT_CONNECT_TIMEOUT: Final = 0.2  # the same, while another thread waits for a hung server
PING_TIMEOUT: Final = 1.5  # for the first statement of a connection from the pool
CHECK_INTERVAL: Final = 2.0  # between checks, during a statement, that the server still answers

EVENTS: Final = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}

READ_ONLY: Final = "25006"  # the SQLSTATE of a write to a standby


class DatabaseTimeoutError(psycopg2.OperationalError):
    """The database server did not answer in time."""


class Connection(extensions.connection):
    """A connection with a time limit, in seconds, for the server's next answer."""

    timeout: float | None = CONNECT_TIMEOUT
    reconnect: Callable[[], Connection]


class ShortTimeoutConnection(Connection):
    """A connection to a server that did not answer the last time."""

    timeout: float | None = SHORT_CONNECT_TIMEOUT


class Connector:
    """Connects an engine to its server, and remembers whether the server hangs."""

    def __init__(self) -> None:
        self._server_hangs = False
        self._long_wait = threading.Lock()

    def connect(
        self, dialect: Any, record: object, arguments: Any, options: Any, is_check: bool = False
    ) -> Connection:
        """Return a new connection, as a listener for SQLAlchemy's event ``do_connect``.

        The time limit is short while the server hangs and another thread is waiting for it, except
        for a check. Raises :exc:`psycopg2.Error`.
        """
        if is_check or not self._server_hangs:
            return self._connect(dialect, record, arguments, options)
        if not self._long_wait.acquire(blocking=False):
            options = {**options, "connection_factory": ShortTimeoutConnection}
            return self._connect(dialect, record, arguments, options)
        try:
            return self._connect(dialect, record, arguments, options)
        finally:
            self._long_wait.release()

    def _connect(self, dialect: Any, record: object, arguments: Any, options: Any) -> Connection:
        start = time.monotonic()
        try:
            connection: Connection = dialect.connect(*arguments, **options)
        except psycopg2.Error:
            timeout = options["connection_factory"].timeout
            self._server_hangs = time.monotonic() - start >= timeout
            raise
        self._server_hangs = False
        options = {**options, "connection_factory": Connection}
        connection.reconnect = partial(
            self.connect, dialect, record, arguments, options, is_check=True
        )
        return connection


def install(engine: Engine) -> None:
    """Limit how long ``engine`` waits; its connections must be of class :class:`Connection`."""
    extensions.set_wait_callback(_wait)
    event.listen(engine, "do_connect", Connector().connect)
    event.listen(engine, "checkin", _set_ping_timeout)
    event.listen(engine, "handle_error", _mark_as_disconnect)


def _wait(connection: Any) -> None:
    """Wait for the connection's answer; raise :exc:`DatabaseTimeoutError` after its time limit."""
    timeout = getattr(connection, "timeout", None)
    deadline = time.monotonic() + (CHECK_INTERVAL if timeout is None else timeout)
    while (state := connection.poll()) != extensions.POLL_OK:
        remaining = max(0.0, deadline - time.monotonic())
        watched = select.poll()  # unlike select(), it takes file descriptors of 1024 and above
        try:
            watched.register(connection, EVENTS[state])
            ready = bool(watched.poll(remaining * 1000))
        except (OSError, ValueError) as error:  # the socket is closed already
            raise DatabaseTimeoutError("the connection to the database server is broken") from error
        if not ready and timeout is not None:
            raise DatabaseTimeoutError(f"the database server did not answer within {timeout:g} s")
        if not ready:
            _check_server(connection)
            deadline = time.monotonic() + CHECK_INTERVAL
    if timeout is not None:
        connection.timeout = None  # the server is up; its statement_timeout limits statements


def _check_server(connection: Any) -> None:
    """Raise :exc:`DatabaseTimeoutError` unless the server accepts another connection.

    This tells a long statement from a server that hangs.
    """
    try:
        connection.reconnect().close()
    except DatabaseTimeoutError:
        raise
    except (AttributeError, psycopg2.Error):  # not our connection; or refused, so the server is up
        return


def _set_ping_timeout(connection: Any, record: object) -> None:
    del record
    if connection is not None:
        connection.timeout = PING_TIMEOUT


def _mark_as_disconnect(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, DatabaseTimeoutError):
        context.is_disconnect = True
    elif getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        # After a failover, a new connection may lead to the server that accepts writes.
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
