"""The database: its session, the time limits of its engine, and which errors mean it is down."""

from __future__ import annotations

import logging
from typing import Any, Final

import psycopg2
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, MetaData
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase

from . import database_timeouts
from .database_timeouts import Connection

TCP_TIMEOUT: Final = 5000  # milliseconds until an unacknowledged packet closes the connection
POOL_TIMEOUT: Final = 3  # seconds

# SQLSTATE classes and codes that mean that PostgreSQL is unavailable: connection exceptions,
# too many connections, shutting down, crashed, starting up.
# https://www.postgresql.org/docs/17/errcodes-appendix.html
UNAVAILABLE_CLASSES: Final = ("08",)
UNAVAILABLE_CODES: Final = frozenset({"53300", "57P01", "57P02", "57P03"})


class Base(DeclarativeBase):
    """The base class of all models. It names constraints, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


logger = logging.getLogger(__name__)

db = SQLAlchemy(model_class=Base)
migrate = Migrate(render_as_batch=True)


def engine_options(url: URL, request_timeout: int, threads: int) -> dict[str, Any]:
    """Return ``SQLALCHEMY_ENGINE_OPTIONS``: time limits, and no statement parameters in errors.

    ``request_timeout``, in seconds, also limits each statement; ``threads`` is the size of the
    connection pool. ``hide_parameters`` keeps what visitors typed, and password hashes, out of
    tracebacks.
    """
    options: dict[str, Any] = {"hide_parameters": True}
    if url.drivername == "sqlite":
        return options
    statement_timeout = request_timeout * 1000
    return options | {
        "pool_pre_ping": True,
        "pool_size": threads,
        "max_overflow": 2,
        "pool_timeout": POOL_TIMEOUT,
        "pool_recycle": 1800,
        "connect_args": {
            "application_name": "microblog",
            "connection_factory": Connection,
            "tcp_user_timeout": TCP_TIMEOUT,
            "keepalives_idle": 10,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": f"-c statement_timeout={statement_timeout}",
        },
    }


def is_unavailable(error: SQLAlchemyError) -> bool:
    """Return whether ``error`` means that the database is down, and not that a query is wrong.

    The app then answers 503, otherwise 500.
    """
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "pgcode", None)
    if code is not None:
        return code in UNAVAILABLE_CODES or code[:2] in UNAVAILABLE_CLASSES
    if error.connection_invalidated:
        return True
    # Without a server there is no SQLSTATE. psycopg2 raises a plain DatabaseError where it does not
    # know the cause, such as a connection that breaks during a statement.
    if not isinstance(error.orig, psycopg2.Error):
        return False
    return isinstance(error, (OperationalError, InterfaceError)) or (
        type(error.orig) is psycopg2.DatabaseError
    )


def init_app(app: Flask) -> None:
    """Set up the database of ``app`` without opening a connection."""
    db.init_app(app)
    migrate.init_app(app, db)
    if app.config["SQLALCHEMY_DATABASE_URI"].drivername != "sqlite":
        with app.app_context():
            database_timeouts.install(db.engine)
