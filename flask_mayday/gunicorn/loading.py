"""Loads the app under gunicorn: reports why it does not load, and connects the extension to it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import click
from flask import Flask
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.http.errors import NoMoreData, ParseException

from ..extension import Mayday
from ..pages import error_pages
from . import server

logger = logging.getLogger("flask_mayday")
_load = WSGIApplication.load


def load(application: Any) -> Any:
    """Load the app as gunicorn does, report what goes wrong, and connect the extension."""
    try:
        wsgi = _load(application)
    except click.ClickException as error:  # of the settings, or of Flask's search for the app
        logger.critical("The app cannot be loaded. %s", error.format_message())
        sys.exit(1)
    except RuntimeError:
        # gunicorn prints the text of this one, takes it for reported, and ends.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    connect(wsgi, application.app_uri)
    server.end_boot_pipeline()
    return wsgi


def connect(wsgi: Any, app_uri: str) -> None:
    """Give the Flask apps in a WSGI callable the extension, where they have not asked for it."""
    apps = list(flask_apps_in(wsgi))
    if not apps:
        logger.error(
            "%s is not a Flask app, nor a middleware around one that keeps it as .app or "
            ".wsgi_app: only the server's own errors are reported. If it is a factory, write %s()",
            app_uri,
            app_uri,
        )
        if isinstance(wsgi, type(connect)):
            sys.exit(f"{app_uri} is a function and not an app: is it a factory? Write {app_uri}()")
        return
    for app in apps:
        if "mayday" not in app.extensions:
            inner = app.wsgi_app
            Mayday(app)
            _replace(wsgi, inner, app)


def flask_apps_in(wsgi: Any) -> Iterator[Flask]:
    """Yield the Flask apps that a WSGI callable is or wraps."""
    seen: set[int] = set()
    waiting = [wsgi]
    while waiting and len(seen) < 50:
        one = waiting.pop(0)
        one = getattr(one, "__self__", one)  # app.wsgi_app is a method of the app
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Flask):
            yield one
            continue
        mounts = getattr(one, "mounts", None)  # Werkzeug's DispatcherMiddleware
        waiting += [getattr(one, name, None) for name in ("app", "wsgi_app")]
        waiting += mounts.values() if isinstance(mounts, dict) else []


def _replace(wsgi: Any, inner: Any, app: Flask) -> None:
    """Let a middleware that wraps ``app.wsgi_app``, as it was, call it as it is now."""
    for _ in range(50):
        for name in ("app", "wsgi_app"):
            if getattr(wsgi, name, None) == inner and not isinstance(wsgi, Flask):
                setattr(wsgi, name, app.wsgi_app)
                return
        wsgi = getattr(wsgi, "app", None) or getattr(wsgi, "wsgi_app", None)


def add_unreadable_requests() -> None:
    """Answer 400, not 500, where gunicorn cannot read a request's body."""
    for kind in (NoMoreData, ParseException):
        if kind not in error_pages.unreadable_requests:
            error_pages.unreadable_requests.append(kind)
