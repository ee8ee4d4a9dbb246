"""The WSGI entry of the stack: loads the app that ``FLASK_APP`` names, as ``flask run`` does."""

from __future__ import annotations

import os

from flask import Flask
from flask.cli import ScriptInfo

from .key_fallbacks import accept_rotated_keys


def load() -> Flask:
    """Return the app that ``FLASK_APP`` names: a module, ``module:app`` or ``module:factory()``.

    Raises :exc:`flask.cli.NoAppException`, with Flask's own explanation, if there is none.
    """
    return ScriptInfo(app_import_path=os.environ.get("FLASK_APP"), set_debug_flag=False).load_app()


application = load()
accept_rotated_keys(application, os.environ)
