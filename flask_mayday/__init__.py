"""Flask Mayday: error pages, error mails, a rotating log and request ids for any Flask app.

The public API is what this module exports, above all :class:`Mayday`. :mod:`flask_mayday.testing`
is for an app's own tests and :mod:`flask_mayday.gunicorn` for the server.
"""

from .extension import Mayday
from .pages.negotiation import prefers_json
from .report.report import Report
from .settings import ConfigurationError

__version__ = "0.1.0"
__all__ = ["ConfigurationError", "Mayday", "Report", "prefers_json"]
