"""Waits for PostgreSQL no longer than a visitor would: a frozen server is as good as none.

psycopg2 waits without an end, in C, for a server that is there and does not answer. With a wait
callback it waits here instead.
https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries

Where each request waited for itself, all threads would soon wait, and visitors for a thread: once
one has found the server silent, the others are refused at once, and one a second tries again.
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
REST: Final = 1.0  # seconds until a silent server is asked again
TRIAL_WITHIN: Final = 10.0  # seconds after which one who asks it is waited for no more


class Unanswered(psycopg2.OperationalError):
    """The server has not answered in time."""


class Connection(extensions.connection):
    """A connection that knows how long its next answer may take, in seconds."""

    within: float | None = CONNECT_WITHIN
    connect_again: Callable[[], Connection]


class Server:
    """An engine's server: whether it is silent, and who may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: float | None = None  # it is silent, and is not to be asked before

    def connect(self, dialect: Any, record: object, arguments: Any, options: Any) -> Connection:
        """Connect, for SQLAlchemy; raise :exc:`Unanswered` at once while the server is silent."""
        self._admit()
        begun = time.monotonic()
        try:
            connection: Connection = dialect.connect(*arguments, **options)
        except psycopg2.Error:
            in_time = time.monotonic() - begun < CONNECT_WITHIN
            self._ask_at(None if in_time else time.monotonic() + REST)
            raise
        self._ask_at(None)
        connection.connect_again = partial(self.connect, dialect, record, arguments, options)
        return connection

    def _admit(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._asked_at is None:
                return
            if now < self._asked_at:
                raise Unanswered("the database server does not answer, as another has just found")
            self._asked_at = now + TRIAL_WITHIN

    def _ask_at(self, moment: float | None) -> None:
        with self._lock:
            self._asked_at = moment


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
