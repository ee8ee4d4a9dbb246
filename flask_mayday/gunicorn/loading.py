"""Loads the app under gunicorn, reports why it cannot be loaded, and gives it the extension."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator
from inspect import signature
from types import FunctionType
from typing import Any, Final

import click
from flask import Flask
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.http.errors import NoMoreData, ParseException

from ..extension import Mayday
from ..pages import error_pages
from . import server

logger = logging.getLogger("flask_mayday")
NOT_WRITABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS)

_load = WSGIApplication.load


def load(application: Any) -> Any:
    """Load the app as gunicorn does, and give it the extension.

    Raises what the app raises, or exits, after it has logged the reason.
    """
    try:
        wsgi = _load(application)
    except click.ClickException as error:  # invalid settings, or Flask finds no app
        logger.critical("The app cannot be loaded. %s", error.format_message())
        sys.exit(error.format_message())
    except RuntimeError:
        # gunicorn prints only the text of a RuntimeError, and ends.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    except OSError as error:
        if error.errno in NOT_WRITABLE:
            logger.warning(
                "The app cannot write %s (%s). In a container with a read-only root it must write "
                "below a mounted folder: set INSTANCE_PATH to the folder that it writes to, or "
                "let it log to stderr",
                error.filename or "a file",
                error.strerror,
            )
        raise
    connect(wsgi, application.app_uri)
    server.end_boot_pipeline()
    return wsgi


def connect(wsgi: Any, app_uri: str) -> None:
    """Call ``init_app`` for the Flask apps in a WSGI callable that have not called it themselves.

    ``app_uri`` is the app's name on gunicorn's command line, for the messages. Exits if ``wsgi`` is
    a function that cannot take a request, most likely a factory without ``()``.
    """
    apps = list(flask_apps_in(wsgi))
    if not apps:
        logger.error(
            "%s is not a Flask app, nor a middleware around one that keeps it as .app or "
            ".wsgi_app: only the server's own errors are reported. If it is a factory, write %s()",
            app_uri,
            app_uri,
        )
        if isinstance(wsgi, FunctionType) and not _takes_request(wsgi):
            sys.exit(f"{app_uri} is a function and not an app: is it a factory? Write {app_uri}()")
        return
    for app in apps:
        if "mayday" not in app.extensions:
            inner = app.wsgi_app
            Mayday(app)
            _replace(wsgi, inner, app)


def _takes_request(function: FunctionType) -> bool:
    parameters = signature(function)
    try:
        parameters.bind("environ", "start_response")
    except TypeError:
        return False
    # All parameters of a factory have defaults.
    return any(one.default is one.empty for one in parameters.parameters.values())


def flask_apps_in(wsgi: Any) -> Iterator[Flask]:
    """Yield the Flask apps that a WSGI callable is or wraps, the outermost first."""
    return (layer for layer in _layers(wsgi) if isinstance(layer, Flask))


def _layers(wsgi: Any) -> Iterator[Any]:
    """Yield a WSGI callable, the middlewares in it and their apps, the outermost first."""
    seen: set[int] = set()
    waiting = [wsgi]
    while waiting and len(seen) < 50:
        one = waiting.pop(0)
        one = getattr(one, "__self__", one)  # app.wsgi_app is a method of the app
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, Flask):
            continue
        mounts = getattr(one, "mounts", None)  # Werkzeug's DispatcherMiddleware
        waiting += [getattr(one, name, None) for name in ("app", "wsgi_app")]
        waiting += mounts.values() if isinstance(mounts, dict) else []


def _replace(wsgi: Any, inner: Any, app: Flask) -> None:
    """Make the middlewares that wrap the old ``app.wsgi_app``, ``inner``, call the new one."""
    for layer in [one for one in _layers(wsgi) if not isinstance(one, Flask)]:
        for name in ("app", "wsgi_app"):
            if getattr(layer, name, None) == inner:
                setattr(layer, name, app.wsgi_app)
        mounts = getattr(layer, "mounts", None)
        if isinstance(mounts, dict):
            mounts.update({path: app.wsgi_app for path, one in mounts.items() if one == inner})


def add_unreadable_request_errors() -> None:
    """Answer 400, not 500, if gunicorn cannot read the body of a request."""
    for kind in (NoMoreData, ParseException):
        if kind not in error_pages.unreadable_request_errors:
            error_pages.unreadable_request_errors.append(kind)
