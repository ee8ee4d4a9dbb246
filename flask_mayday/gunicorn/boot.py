"""Reports why gunicorn does not start: what fails at import of the app, or while it is made."""

from __future__ import annotations

import os
import sys
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

from ..log import setup as logs
from ..redaction.redactor import Redactor
from ..reporting import setup as reports
from ..settings import Settings


def install(settings: Settings) -> None:
    """Log and report from before the app is loaded; gunicorn has no setting for that."""
    load_app = WSGIApplication.load

    def load(application: Any) -> Any:
        redactor = Redactor(settings.secret_values)
        logs.configure(settings, redactor, debug=False)
        reports.configure(settings, redactor, root_path=os.getcwd(), debug=False)
        try:
            return load_app(application)
        except RuntimeError:
            # gunicorn prints the text of this one, takes it for told, and ends.
            sys.excepthook(*sys.exc_info())
            sys.exit(1)

    WSGIApplication.load = load
