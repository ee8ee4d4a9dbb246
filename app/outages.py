"""Which database errors are temporary outages, and the message for each.

The app answers 503 to them, so that a visitor tries again. All other errors are the app's own
mistakes, or the administrator's, and are answered with 500.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

import psycopg2
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

DOWN: Final = "The database is unavailable"
READ_ONLY: Final = "The database is read-only"
FULL: Final = "The database's disk is full or failing"
EXHAUSTED: Final = "The database has reached a limit of its memory, connections or configuration"
LOCKED: Final = "A lock in the database was not released in time"
CANCELLED: Final = "A statement in the database took too long, or was cancelled"
CONFLICT: Final = "Transactions in the database conflict"
MESSAGES: Final = (DOWN, READ_ONLY, FULL, EXHAUSTED, LOCKED, CANCELLED, CONFLICT)

# SQLSTATEs of PostgreSQL. Two characters stand for a whole class of them.
# https://www.postgresql.org/docs/17/errcodes-appendix.html
SQLSTATES: Final = {
    "08": DOWN,  # connection exception
    "25006": READ_ONLY,  # read_only_sql_transaction: a standby after a failover
    "25P03": DOWN,  # idle_in_transaction_session_timeout
    "25P04": CANCELLED,  # transaction_timeout
    "40001": CONFLICT,  # serialization_failure, also on a standby
    "40P01": CONFLICT,  # deadlock_detected
    "53": EXHAUSTED,  # insufficient_resources: 53200 memory, 53300 connections, 53400 configuration
    "53100": FULL,  # disk_full
    "55006": LOCKED,  # object_in_use
    "55P03": LOCKED,  # lock_not_available: lock_timeout, or NOWAIT
    "57014": CANCELLED,  # query_canceled: statement_timeout
    "57P01": DOWN,  # admin_shutdown
    "57P02": DOWN,  # crash_shutdown
    "57P03": DOWN,  # cannot_connect_now: starting up
    "57P04": DOWN,  # database_dropped: restored by dropping and creating it
    "57P05": DOWN,  # idle_session_timeout
    "58030": FULL,  # io_error
}
# SQLite's result codes. https://www.sqlite.org/rescode.html
SQLITE_CODES: Final = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_NOMEM: EXHAUSTED,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_IOERR: FULL,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: DOWN,
}


def is_about(message: str) -> Callable[[SQLAlchemyError], bool]:
    """Return a function that says whether an error is the outage with this message."""
    return lambda error: outage(error) == message


def outage(error: SQLAlchemyError) -> str | None:
    """Return which of :data:`MESSAGES` an error means, or ``None`` if it is not an outage."""
    if isinstance(error, PoolTimeoutError):
        return EXHAUSTED
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        # The lowest byte is the primary code.
        return SQLITE_CODES.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
    code = getattr(error.orig, "pgcode", None)
    if code is not None:
        return SQLSTATES.get(code) or SQLSTATES.get(code[:2])
    return DOWN if error.connection_invalidated or _is_connection_error(error) else None


def _is_connection_error(error: DBAPIError) -> bool:
    # Without a server there is no SQLSTATE. psycopg2 raises a plain DatabaseError where it does not
    # know the cause, such as a connection that breaks during a statement.
    if not isinstance(error.orig, psycopg2.Error):
        return False
    return isinstance(error, (OperationalError, InterfaceError)) or (
        type(error.orig) is psycopg2.DatabaseError
    )
