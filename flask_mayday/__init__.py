"""Flask Mayday: error pages, error mails, a rotating log and request ids for any Flask app.

The public API is :class:`Mayday`; :mod:`flask_mayday.testing` is for an app's own tests and
:mod:`flask_mayday.gunicorn` for the server.
"""

from .extension import Mayday
from .report.report import Report
from .settings import ConfigurationError

__version__ = "0.1.0"
__all__ = ["ConfigurationError", "Mayday", "Report"]
