"""Logs slow SQL statements as warnings, without their parameters."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

logger = logging.getLogger(__name__)


def watch(engine: Engine | type[Engine], slow_ms: Callable[[], int]) -> None:
    """Log a WARNING for each statement of ``engine`` that takes ``slow_ms()`` ms or more.

    The class ``Engine`` stands for every engine of the process.
    """
    from sqlalchemy import event  # here, because SQLAlchemy is optional

    @event.listens_for(engine, "before_cursor_execute")
    def begin(*arguments: Any) -> None:
        context = arguments[4]
        context.mayday_started = time.monotonic()

    @event.listens_for(engine, "after_cursor_execute")
    def end(*arguments: Any) -> None:
        statement, context = arguments[2], arguments[4]
        started = getattr(context, "mayday_started", None)
        if started is None:  # it began before this function was installed
            return
        taken = (time.monotonic() - started) * 1000
        if taken >= slow_ms():
            logger.warning("Slow SQL, %.0f ms: %s", taken, " ".join(statement.split()))
