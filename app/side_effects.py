"""Writes that a page can do without, so that they never cost a visitor the page."""

from __future__ import annotations

import logging
import time
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
    """Execute and commit ``statement``; if the database cannot take it now, log that and go on.

    Then nothing is written for a minute: pages would wait for a locked table again and again.
    Raises :exc:`~sqlalchemy.exc.SQLAlchemyError` for an error that is no outage.
    """
    if time.monotonic() < current_app.extensions.get(PAUSED_UNTIL, 0.0):
        return
    try:
        db.session.execute(statement)
        db.session.commit()
    except SQLAlchemyError as error:
        message = outage(error)
        if message is None:
            raise
        db.session.rollback()
        current_app.extensions[PAUSED_UNTIL] = time.monotonic() + PAUSE
        logger.warning("Went on without a write that the page does not need: %s", message)
