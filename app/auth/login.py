"""Flask-Login, set up so that error pages never load the user."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar, cast

import flask_login
from flask import Flask

from .. import accounts
from ..models import User
from .forms import LogoutForm

REMEMBER_DURATION: Final = timedelta(days=30)

View = TypeVar("View", bound=Callable[..., object])


class LoginManager(flask_login.LoginManager):  # type: ignore[misc]
    """Flask-Login's manager, but a non-ASCII cookie is ignored instead of causing a 500."""

    def _load_user_from_remember_cookie(self, cookie: str) -> User | None:
        if not cookie.isascii():
            return None
        return cast("User | None", super()._load_user_from_remember_cookie(cookie))


def init_app(app: Flask) -> None:
    """Set up Flask-Login for ``app``.

    Without its context processor, which queries the user for every template, the error page
    included. ``current_user`` is a template global instead: it loads nothing until it is used.
    """
    app.config["REMEMBER_COOKIE_DURATION"] = REMEMBER_DURATION
    app.config["REMEMBER_COOKIE_SAMESITE"] = "Lax"
    manager = LoginManager()
    manager.login_view = "auth.login"
    manager.user_loader(accounts.by_id)
    manager.init_app(app, add_context_processor=False)
    app.jinja_env.globals.update(current_user=flask_login.current_user, LogoutForm=LogoutForm)


def login_required(view: View) -> View:
    """Redirect visitors without a login to the login page, and from there back to ``view``."""
    return cast("View", flask_login.login_required(view))
