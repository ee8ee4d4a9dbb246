"""A watch without its loops, on a pipeline that writes below the test's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_mayday.redaction.redactor import Redactor
from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.settings import read_settings
from tests.support.web_server import WebServer, web_server


@pytest.fixture
def pipeline_with(tmp_path: Path) -> Callable[..., Pipeline]:
    """Return a factory: ``pipeline_with(WATCH_URL="http://…")``."""

    def make(**overrides: object) -> Pipeline:
        folders = {"LOG_DIR": tmp_path / "logs", "SPOOL_DIR": tmp_path / "spool"}
        settings = read_settings({**folders, "LOG_FILE": "microblog.log", **overrides})
        return Pipeline(settings, Redactor(list(settings.secret_values)))

    return make


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running
