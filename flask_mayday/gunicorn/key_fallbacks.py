"""Lets an app that uses the stack's secret key accept sessions that a rotated key has signed."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from ..settings import SettingsReader


def accept_rotated_keys(app: Flask, environ: Mapping[str, str]) -> None:
    """Set ``SECRET_KEY_FALLBACKS`` of ``app`` from ``environ`` if the app leaves it unset.

    Does nothing if the app's secret key is not that of the stack, or before Flask 3.1, which
    introduced this setting. Raises :exc:`flask_mayday.ConfigurationError` if a file cannot be read.
    """
    if not app.secret_key or app.secret_key != environ.get("SECRET_KEY"):
        return
    # Flask's default is None. Before Flask 3.1 there is none.
    if app.config.get("SECRET_KEY_FALLBACKS", ()) is not None:
        return
    reader = SettingsReader({}, environ)
    keys = reader.secret_lines("SECRET_KEY_FALLBACKS")
    reader.finish()
    app.config["SECRET_KEY_FALLBACKS"] = keys
