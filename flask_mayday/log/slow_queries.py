"""Warns of statements that take long, without their parameters."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy import Engine, event

logger = logging.getLogger(__name__)


def watch(engine: Engine, slow_ms: int) -> None:
    """Log at WARNING each statement of ``engine`` that takes ``slow_ms`` milliseconds or more."""

    @event.listens_for(engine, "before_cursor_execute")
    def begin(*arguments: Any) -> None:
        context = arguments[4]
        context.microblog_started = time.monotonic()

    @event.listens_for(engine, "after_cursor_execute")
    def end(*arguments: Any) -> None:
        statement, context = arguments[2], arguments[4]
        taken = (time.monotonic() - context.microblog_started) * 1000
        if taken >= slow_ms:
            logger.warning("Slow SQL, %.0f ms: %s", taken, " ".join(statement.split()))
