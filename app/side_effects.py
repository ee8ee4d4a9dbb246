"""Optional writes: if the database cannot take one now, the visitor still gets the page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from flask import current_app
from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError

from .database import db
from .outages import outage

PAUSE: Final = 60.0  # seconds without such writes after one that failed
PAUSED_UNTIL: Final = "side_effects_paused_until"

logger = logging.getLogger(__name__)


def write(statement: Executable) -> None:
    """Execute and commit ``statement``; skip it if the database cannot take it now."""

    def execute_and_commit() -> None:
        db.session.execute(statement)
        db.session.commit()

    attempt(execute_and_commit)


def attempt(work: Callable[[], object]) -> bool:
    """Call ``work``, which writes; return whether the database could take it.

    If it could not, that is logged, and for a minute nothing else is attempted: pages would wait
    for a locked table again and again. Raises :exc:`~sqlalchemy.exc.SQLAlchemyError` for an error
    that is not an outage.
    """
    if time.monotonic() < current_app.extensions.get(PAUSED_UNTIL, 0.0):
        return False
    try:
        work()
    except SQLAlchemyError as error:
        message = outage(error)
        if message is None:
            raise
        db.session.rollback()
        current_app.extensions[PAUSED_UNTIL] = time.monotonic() + PAUSE
        logger.warning("Skipped a write that the page does not need: %s", message)
        return False
    return True
