"""Lets an app that uses the stack's secret key accept sessions that a rotated key has signed."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from ..settings import SettingsReader


def accept_rotated_keys(app: Flask, environ: Mapping[str, str]) -> None:
    """Set ``SECRET_KEY_FALLBACKS`` of ``app`` from ``environ`` where the app leaves it unset.

    Only where the app's secret key is that of the stack, and from Flask 3.1 on, which has
    this setting. Raises :exc:`flask_mayday.ConfigurationError` if a file cannot be read.
    """
    if not app.secret_key or app.secret_key != environ.get("SECRET_KEY"):
        return
    if app.config.get("SECRET_KEY_FALLBACKS", ()) is not None:
        return
    reader = SettingsReader({}, environ)
    keys = (reader.secret("SECRET_KEY_FALLBACKS") or "").splitlines()
    reader.finish()
    app.config["SECRET_KEY_FALLBACKS"] = keys
