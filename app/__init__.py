"""Microblog, the demo of Flask Mayday: a small blog based on the Flask Mega-Tutorial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from flask_mayday import ConfigurationError, Mayday

from . import config, database, outages, security
from .passwords import TooManyLoginsError

mayday = Mayday()
mayday.unavailable(TooManyLoginsError, message="Too many logins at once")
for message in outages.MESSAGES:
    mayday.unavailable(SQLAlchemyError, when=outages.is_about(message), message=message)


def create_app(overrides: Mapping[str, object] | None = None) -> Flask:
    """Return the app, configured from the environment and from ``overrides``, which win.

    Reads the files of secrets, but opens no connection and starts no thread: gunicorn's master,
    the command line and the migrations call it too. Raises
    :exc:`flask_mayday.ConfigurationError` with every invalid setting at once.
    """
    app = Flask(__name__, instance_path=str(config.ROOT / "instance"))
    problems = config.configure(app, overrides or {})
    try:
        mayday.init_app(app)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    url = app.config["SQLALCHEMY_DATABASE_URI"]
    if url.drivername == "sqlite" and url.database:
        Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["drill"] = app.config["DRILL"]
    database.init_app(app)
    security.init_app(app)
    _add_blueprints(app)
    return app


def _add_blueprints(app: Flask) -> None:
    # Imported here, so that an error in these modules is reported.
    from .auth import login
    from .auth import routes as auth
    from .main import routes as main

    login.init_app(app)
    for blueprint in (auth.blueprint, main.blueprint):
        app.register_blueprint(blueprint)
