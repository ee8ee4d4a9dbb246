"""gunicorn's logger passes on whatever it is asked to log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flask_mayday.gunicorn.logger import Logger


@pytest.mark.parametrize("method", ["warning", "error", "critical", "exception"])
def test_a_message_may_be_an_exception(caplog: pytest.LogCaptureFixture, method: str) -> None:
    logger: Any = Logger.__new__(Logger)
    logger.error_log = logging.getLogger("gunicorn.error")
    getattr(logger, method)(SyntaxError("an app that is being edited"))
    assert "an app that is being edited" in caplog.text
