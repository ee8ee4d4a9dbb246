"""Logs an error if the database allows fewer connections than the app may open."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

import psycopg2
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flask_mayday.capacity import Capacity, or_raise

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
    capacity = Capacity(workers, threads)
    if capacity.container_connections > allowed:
        logger.error(
            "WEB_CONCURRENCY=%d x WEB_THREADS=%d may open %d connections, with one spare "
            "connection per worker, but the database allows all of its clients together only %d: "
            "requests that get none are answered with 503. %s max_connections "
            "(in the stack: DB_MAX_CONNECTIONS)",
            workers,
            threads,
            capacity.container_connections,
            allowed,
            or_raise(capacity.fix(lambda one: one.container_connections <= allowed)),
        )
