"""Our app with one feature switched off, to measure the cost of that feature."""

from __future__ import annotations

import logging

from flask import Flask

import app


def without_reports() -> Flask:
    """Return the app with errors logged and not reported."""
    made = app.create_app()
    # As if each were recorded: an error that is not gets a second line from the middleware.
    made.extensions["mayday"].reports._report = lambda record: None
    return made


def without_request_log() -> Flask:
    """Return the app without a log line per request."""
    logging.getLogger("gunicorn.access").setLevel(logging.CRITICAL)
    return app.create_app()
