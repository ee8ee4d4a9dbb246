"""Our app with one thing taken out: what that thing costs is measured against it."""

from __future__ import annotations

import logging

from flask import Flask

import app


def without_reports() -> Flask:
    """Errors are only logged."""
    made = app.create_app()
    made.extensions["mayday"].reports.setLevel(logging.CRITICAL + 1)
    return made


def without_request_log() -> Flask:
    """Requests leave no line."""
    logging.getLogger("gunicorn.access").disabled = True
    return app.create_app()
