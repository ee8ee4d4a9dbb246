"""The app's database: rolls back, checks whether it answers, and logs slow statements.

Works with Flask-SQLAlchemy, and does nothing for an app without it: SQLAlchemy is imported only if
the app has imported it.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from flask import current_app, has_app_context

from .log import slow_queries
from .reporting import registry
from .reporting.pipeline import Pipeline

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)
_is_watched = False


def extension_of(app: Flask) -> Any:
    """Return the app's Flask-SQLAlchemy object, or ``None``."""
    found = app.extensions.get("sqlalchemy")
    return found if hasattr(found, "session") and hasattr(type(found), "engines") else None


def roll_back(app: Flask) -> None:
    """Roll back the session's transaction, so that the error page can use the session.

    If that fails, because the server is gone, the connection is discarded. Never raises.
    """
    db = extension_of(app)
    try:
        if db is None or not db.session.registry.has():
            return
        try:
            db.session.rollback()
        except Exception as error:
            logger.warning("Discarding a connection that cannot be rolled back: %s", error)
            db.session().invalidate()
    except Exception as error:
        logger.warning("The session cannot be rolled back: %s", error)


def roll_back_at_teardown(app: Flask) -> None:
    """Roll back at the end of each request, before Flask-SQLAlchemy closes the session.

    Closing it raises if the connection is lost, even after the error page was made.
    """
    # Flask calls these functions in reverse order, so this one comes first.
    app.teardown_appcontext_funcs.append(lambda error: roll_back(app))


def forget_connections(app: Flask) -> None:
    """Make a forked process open connections of its own; the parent's stay open."""
    db = extension_of(app)
    if db is None:
        return
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose(close=False)


def trouble_of(app: Flask) -> str | None:
    """Query the app's database; return the name of the exception, or ``None`` if it answers."""
    db = extension_of(app)
    if db is None:
        return None
    import sqlalchemy

    try:
        with app.app_context():
            db.session.execute(sqlalchemy.text("SELECT 1"))
            db.session.rollback()
    except Exception as error:
        with app.app_context():
            roll_back(app)
        return type(error).__name__
    return None


def server_started(app: Flask) -> float | None:
    """Return when the PostgreSQL server was started, in seconds since the epoch.

    Returns ``None`` for another database, and if the time cannot be determined.
    """
    db = extension_of(app)
    if db is None:
        return None
    import sqlalchemy

    try:
        with app.app_context():
            if db.engine.dialect.name != "postgresql":
                return None
            query = sqlalchemy.text("SELECT extract(epoch FROM pg_postmaster_start_time())")
            started = float(db.session.execute(query).scalar())
            db.session.rollback()
    except Exception:
        with app.app_context():
            roll_back(app)
        return None
    return started


def watch_slow_statements() -> None:
    """Log SQL statements that take ``LOG_SLOW_MS`` or more; installed once in a process."""
    global _is_watched
    if not _is_watched and "sqlalchemy" in sys.modules:
        _is_watched = True
        slow_queries.watch(sys.modules["sqlalchemy"].engine.Engine, _slow_ms)


def _slow_ms() -> int:
    """Return ``LOG_SLOW_MS`` of the current app, else of the first app in this process."""
    current: Pipeline | None = current_app.extensions.get("mayday") if has_app_context() else None
    if current is not None:
        return current.settings.log.slow_ms
    known = registry.pipelines()
    return known[0].settings.log.slow_ms if known else sys.maxsize
