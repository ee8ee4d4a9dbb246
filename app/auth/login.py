"""Who is logged in: Flask-Login, set up so that pages of errors never ask."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar, cast

import flask_login
from flask import Flask

from .. import accounts
from ..models import User
from .forms import LogoutForm

REMEMBERED: Final = timedelta(days=30)

View = TypeVar("View", bound=Callable[..., object])


class LoginManager(flask_login.LoginManager):  # type: ignore[misc]
    """Flask-Login's, which cannot compare a cookie that is not ASCII and would answer 500."""

    def _load_user_from_remember_cookie(self, cookie: str) -> User | None:
        if not cookie.isascii():
            return None
        return cast("User | None", super()._load_user_from_remember_cookie(cookie))


def init_app(app: Flask) -> None:
    """Let ``app`` know its users.

    Flask-Login's context processor would load the user, by a query, for every template, that of
    the error page too. The blog's own templates have ``current_user`` as a global, which loads
    nothing until it is used.
    """
    app.config["REMEMBER_COOKIE_DURATION"] = REMEMBERED
    app.config["REMEMBER_COOKIE_SAMESITE"] = "Lax"
    manager = LoginManager()
    manager.login_view = "auth.login"
    manager.user_loader(accounts.by_id)
    manager.init_app(app, add_context_processor=False)
    app.jinja_env.globals.update(current_user=flask_login.current_user, LogoutForm=LogoutForm)


def login_required(view: View) -> View:
    """Send visitors who are not logged in to the log-in page, and from there back to ``view``."""
    return cast("View", flask_login.login_required(view))
