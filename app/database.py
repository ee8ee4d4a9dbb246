"""The database: its session, and the limits of its engine."""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, MetaData
from sqlalchemy.orm import DeclarativeBase

from flask_mayday.capacity import SPARE_CONNECTIONS
from flask_mayday.time_limits import TimeLimits

from . import connection_limit, database_timeouts
from .database_timeouts import Connection
from .lock_waits import LockWaits

TCP_TIMEOUT: Final = 5000  # milliseconds until an unacknowledged packet closes the connection


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


def engine_options(url: URL, limits: TimeLimits, threads: int) -> dict[str, Any]:
    """Return ``SQLALCHEMY_ENGINE_OPTIONS``: time limits, and no statement parameters in errors.

    ``threads`` is the size of the connection pool. ``hide_parameters`` keeps what visitors typed,
    and password hashes, out of tracebacks.
    """
    options: dict[str, Any] = {"hide_parameters": True}
    if url.drivername == "sqlite":
        return options
    timeouts = {"statement_timeout": limits.statement, "lock_timeout": limits.lock}
    return options | {
        "pool_pre_ping": True,
        "pool_size": threads,
        "max_overflow": SPARE_CONNECTIONS,
        "pool_timeout": limits.pool,
        "pool_recycle": 1800,
        "connect_args": {
            "application_name": "microblog",
            "connection_factory": Connection,
            "tcp_user_timeout": TCP_TIMEOUT,
            "keepalives_idle": 10,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": " ".join(
                f"-c {name}={seconds * 1000:.0f}" for name, seconds in timeouts.items()
            ),
        },
    }


def init_app(app: Flask) -> None:
    """Set up the database of ``app`` without opening a connection."""
    db.init_app(app)
    migrate.init_app(app, db)
    if app.config["SQLALCHEMY_DATABASE_URI"].drivername != "sqlite":
        with app.app_context():
            database_timeouts.install(db.engine)
            LockWaits().watch(db.engine)
            connection_limit.check(
                db.engine, app.config["WEB_CONCURRENCY"], app.config["WEB_THREADS"]
            )
