"""For an app's own tests: collects the reports that the app makes.

In tests (``app.testing``) nothing is written or mailed. Inside :func:`captured_reports`, reports
are collected instead::

    def test_a_failed_payment_is_reported(app):
        app.config["PROPAGATE_EXCEPTIONS"] = False
        with captured_reports(app) as reports:
            app.test_client().post("/pay")
        assert [report.type for report in reports] == ["PaymentError"]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from .report.report import Report
from .reporting.pipeline import Pipeline

__all__ = ["captured_reports"]


@contextmanager
def captured_reports(app: Flask) -> Iterator[list[Report]]:
    """Collect the reports that ``app`` makes inside the ``with`` block, oldest first.

    These reports are neither stored nor mailed. Under ``app.testing`` Flask propagates exceptions
    to the test by default: set ``PROPAGATE_EXCEPTIONS`` to false to have them handled and
    reported. Raises :exc:`KeyError` if ``Mayday.init_app`` was not called for ``app``.
    """
    pipeline: Pipeline = app.extensions["mayday"]
    before, pipeline.collected = pipeline.collected, []
    try:
        yield pipeline.collected
    finally:
        pipeline.collected = before
