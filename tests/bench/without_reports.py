"""Our app with reporting taken out: the control of the error path. Errors are only logged."""

from __future__ import annotations

from flask import Flask

import app
from app import reports


def create_app() -> Flask:
    made = app.create_app()
    reports.remove()
    return made
