"""Microblog: builds the app, and does nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Context
from pathlib import Path

from flask import Flask, abort, request
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_mayday import cli
from flask_mayday.context import threads
from flask_mayday.log import setup as logs
from flask_mayday.log import slow_queries as slow
from flask_mayday.pages import error_pages as pages
from flask_mayday.pages.middleware import ErrorBoundary
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report.request import ROUTE
from flask_mayday.reporting import setup as reports
from flask_mayday.settings import ConfigurationError, Settings, read_settings

from . import config, database
from .database import engine_options

VERSION = "0.1.0"


def create_app(overrides: Mapping[str, object] | None = None) -> Flask:
    """Build the app from the environment's settings, with ``overrides`` (by name) before them.

    Opens no file or connection and starts no thread: gunicorn's master, the command line and
    the migrations call it too. Raises :exc:`flask_mayday.settings.ConfigurationError`.
    """
    app = Flask(__name__, instance_path=str(config.ROOT / "instance"))
    problems = config.configure(app, overrides or {})
    try:
        settings = read_settings(app.config, instance_path=Path(app.instance_path))
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url, settings)
    if url.drivername == "sqlite" and url.database:
        Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    app.extensions["settings"] = settings

    threads.install()
    secrets = (*settings.secret_values, app.config["SECRET_KEY"], url.password or "")
    in_query = (str(url.query.get(name, "")) for name in ("password", "sslpassword"))
    redactor = Redactor([value for value in (*secrets, *in_query) if value])
    logs.configure(settings, redactor, debug=app.debug)
    courier = reports.configure(settings, redactor, root_path=app.root_path, debug=app.debug)
    app.extensions["courier"] = courier
    # Flask would add a handler of its own to a logger that seems to have none.
    app.logger.handlers.clear()
    app.logger.setLevel(logging.NOTSET)

    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    database.init_app(app)
    with app.app_context():
        slow.watch(database.db.engine, settings.log.slow_ms)
    pages.init_app(app)
    _add_blueprints(app)
    app.cli.add_command(cli.group)

    @app.before_request
    def begin() -> None:
        _note_route()
        if courier is not None:
            # In an empty context: the courier works for all requests, not for this one.
            Context().run(courier.ensure_running)
        _refuse_unreadable_host()

    _wrap(app, settings)
    return app


def _add_blueprints(app: Flask) -> None:
    # Imported here, where errors are reported already: one in the blog's code is mailed too.
    from flask_mayday import health
    from flask_mayday.drill import routes as drill

    from .auth import login
    from .auth import routes as auth
    from .main import routes as main

    login.init_app(app)
    for blueprint in (auth.blueprint, main.blueprint, health.blueprint, drill.blueprint):
        app.register_blueprint(blueprint)


def _note_route() -> None:
    """Leave the route, without what a visitor put into it, where the report finds it."""
    if request.url_rule is not None:
        request.environ[ROUTE] = str(request.url_rule)


def _refuse_unreadable_host() -> None:
    """Answer 400 where the host's name cannot be decoded: no address can be made of it."""
    if "xn--" in request.host.lower():
        try:
            _ = request.host_url
        except UnicodeError:
            abort(400, "The name of this site cannot be read: check the address.")


def _wrap(app: Flask, settings: Settings) -> None:
    wsgi = app.wsgi_app
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        wsgi = ProxyFix(wsgi, x_for=count, x_proto=count)
    boundary = ErrorBoundary(wsgi, trust_header=settings.trusted_proxies > 0, propagate=app.debug)
    app.wsgi_app = boundary  # type: ignore[method-assign]
