"""The database: the session that views use, its engine's limits, and whether it can be reached."""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, MetaData
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase

from . import database_wait
from .database_wait import Connection

UNACKNOWLEDGED: Final = 5000  # milliseconds until a silent peer counts as gone
POOL_TIMEOUT: Final = 3  # seconds

# SQLSTATE classes and codes with which PostgreSQL says that it cannot serve anybody now:
# connection exceptions, too many connections, shutting down, crashed, starting up.
# https://www.postgresql.org/docs/17/errcodes-appendix.html
UNAVAILABLE_CLASSES: Final = ("08",)
UNAVAILABLE_CODES: Final = frozenset({"53300", "57P01", "57P02", "57P03"})


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can name it too."""

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
    """Return the engine's options for Flask-SQLAlchemy: bounded waits and no parameter in errors.

    ``hide_parameters`` keeps what visitors typed, password hashes included, out of every
    traceback. The waits are short because a visitor sits behind each of them.
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
            "tcp_user_timeout": UNACKNOWLEDGED,
            "keepalives_idle": 10,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": f"-c statement_timeout={statement_timeout}",
        },
    }


def is_unavailable(error: SQLAlchemyError) -> bool:
    """Tell whether ``error`` says that the database cannot be reached, rather than a wrong query.

    A visitor is then told to come back (503); everything else is an error of ours (500).
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
    # psycopg2 gives no SQLSTATE when there is no server to give one; what it cannot name at all
    # is a plain DatabaseError.
    if not type(error.orig).__module__.startswith(("psycopg2", "app.database_wait")):
        return False
    return isinstance(error, (OperationalError, InterfaceError)) or (
        type(error.orig).__name__ == "DatabaseError"
    )


def init_app(app: Flask) -> None:
    """Give ``app`` its database: no connection is opened."""
    db.init_app(app)
    migrate.init_app(app, db)
    if app.config["SQLALCHEMY_DATABASE_URI"].drivername != "sqlite":
        with app.app_context():
            database_wait.install(db.engine)
