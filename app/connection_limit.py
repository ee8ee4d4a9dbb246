"""Logs an error if the database allows fewer connections than the app may open."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

import psycopg2
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flask_mayday.capacity import SPARE_CONNECTIONS

ALLOWED: Final = """
    SELECT current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
"""

logger = logging.getLogger(__name__)


def check(engine: Engine, workers: int, threads: int) -> None:
    """Compare the connections of all workers with the limit when ``engine`` first connects."""
    event.listen(engine, "first_connect", partial(_compare, workers, threads))


def _compare(workers: int, threads: int, connection: Any, record: object) -> None:
    del record
    try:
        with connection.cursor() as cursor:
            cursor.execute(ALLOWED)
            (allowed,) = cursor.fetchone()
        connection.rollback()
    except psycopg2.Error:
        return  # the statement that needed the connection is about to fail too
    needed = workers * (threads + SPARE_CONNECTIONS)
    if needed > allowed:
        logger.error(
            "WEB_CONCURRENCY=%d x WEB_THREADS=%d may open %d connections, with one spare "
            "connection per worker, but the database allows all of its clients together only %d: "
            "requests that get none are answered with 503. Lower %s, or "
            "raise max_connections (in the stack: DB_MAX_CONNECTIONS)",
            workers,
            threads,
            needed,
            allowed,
            what_to_lower(workers, threads, allowed),
        )


def what_to_lower(workers: int, threads: int, allowed: int) -> str:
    """Return the setting to lower, and to which value, so that ``allowed`` connections suffice."""
    most_threads = allowed // workers - SPARE_CONNECTIONS
    if most_threads > 0:
        return f"WEB_THREADS to {most_threads} or less"
    most_workers = allowed // (threads + SPARE_CONNECTIONS)
    return f"WEB_CONCURRENCY to {most_workers} or less" if most_workers else "both settings"
