"""Logins on top of Flask-Login: kept in the database, so that the server can end them.

A login has a random token. The session holds it, and with "Remember me" also a cookie of its own.
The database has the token's hash. A login ends when its row is deleted or expires.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar, cast

import flask_login
from flask import Flask, Request, Response, after_this_request, request, session
from flask_login.utils import decode_cookie
from flask_wtf.csrf import generate_csrf
from sqlalchemy import bindparam, delete, select, update

from .. import accounts, side_effects
from ..cookies import SessionInterface, cookie_name, delete_cookie, read_cookie, send_cookie
from ..database import db
from ..models import Login, User, now

DURATION: Final = timedelta(days=30)
TOKEN: Final = "login"  # the session's key for the token
REMEMBER: Final = "remember"
OLD_REMEMBER: Final = "remember_token"  # the whole name of Flask-Login's own cookie

# Built once: every page of a logged-in user runs this query.
USER_OF_LOGIN: Final = (
    select(User)
    .join(Login, Login.user_id == User.id)
    .where(Login.token_hash == bindparam("token_hash"), Login.expires > bindparam("now"))
)

View = TypeVar("View", bound=Callable[..., object])


def init_app(app: Flask) -> None:
    """Set up Flask-Login for ``app``.

    Two things that ``LoginManager.init_app`` adds are left out. Its context processor queries the
    user for every template, even the error page. Instead, ``current_user`` is a template global: it
    loads nothing until it is used. The other sends Flask-Login's own "Remember me" cookie.
    """
    app.session_interface = SessionInterface()
    # Flask-Login's own cookie would never change, so it is not used.
    app.config["REMEMBER_COOKIE_NAME"] = None
    manager = flask_login.LoginManager()
    manager.login_view = "auth.login"
    manager.user_loader(_load_from_session)
    manager.request_loader(_load_from_remember_cookie)
    app.login_manager = manager  # type: ignore[attr-defined]
    app.jinja_env.globals.update(current_user=flask_login.current_user, csrf_token=generate_csrf)


def login_required(view: View) -> View:
    """Redirect visitors without a login to the login page, and from there back to ``view``."""
    return cast("View", flask_login.login_required(view))


def log_in(user: User, *, remember: bool) -> None:
    """Begin a login of ``user`` in this browser; with ``remember`` it outlives the session."""
    token = _add_login(user)
    session.clear()  # others may know what is in it, such as the CSRF token
    _keep(token, remember=remember)
    flask_login.login_user(user)


def log_out() -> None:
    """End the login of this browser."""
    tokens = [session.get(TOKEN), read_cookie(REMEMBER)]
    hashes = [_hash(token) for token in tokens if token]
    db.session.execute(delete(Login).where(Login.token_hash.in_(hashes)))
    _refuse_old_cookies(flask_login.current_user.id)
    db.session.commit()
    _forget()


def log_out_everywhere() -> None:
    """End all logins of the current user."""
    _end_all(flask_login.current_user.id)
    db.session.commit()
    _forget()


def set_password(password: str) -> None:
    """Set the current user's password, and end the user's other logins."""
    user = flask_login.current_user._get_current_object()
    user.set_password(password)
    _end_all(user.id)
    log_in(user, remember=read_cookie(REMEMBER) is not None)


def _load_from_session(user_id: str) -> User | None:
    """Return the user of a session whose login has not ended."""
    token = session.get(TOKEN)
    user = _user_of(token) if token else _user_of_old_cookie(user_id)
    if user is None:
        session.pop("_user_id")
        session.pop(TOKEN, None)
        return None
    if not token:
        remember = _old_remembered_id() == user_id
        side_effects.attempt(lambda: _keep(_add_login(user), remember=remember))
    after_this_request(_forbid_storing)
    return user


def _load_from_remember_cookie(request: Request) -> User | None:
    """Return the user of a remembered login, and put the login into the session."""
    if not request.cookies:
        return None
    token, old_id = read_cookie(REMEMBER), _old_remembered_id()
    user = _user_of(token) if token else None
    if user is None and old_id is not None:
        user = _user_of_old_cookie(old_id)
        if user is not None:
            side_effects.attempt(lambda: _keep(_add_login(user), remember=True))
            after_this_request(_forbid_storing)
            flask_login.login_user(user, fresh=False)
            return user
    if user is not None and token:
        _keep(token, remember=True)
        flask_login.login_user(user, fresh=False)
    else:
        names = [cookie_name(REMEMBER), OLD_REMEMBER if old_id else ""]
        _delete_cookies([name for name in names if name in request.cookies])
    return user


def _user_of(token: str) -> User | None:
    """Return the user whose login has this token and has not ended."""
    return db.session.scalar(USER_OF_LOGIN, {"token_hash": _hash(token), "now": now()})


def _user_of_old_cookie(user_id: str) -> User | None:
    """Return a user whom an earlier version has logged in, with a cookie without a token."""
    user = accounts.by_id(user_id)
    until = user.old_cookies_until if user else None
    return user if until is not None and until > now() else None


def _old_remembered_id() -> str | None:
    """Return the user's id in a cookie of Flask-Login, if its signature is ours."""
    cookie = request.cookies.get(OLD_REMEMBER, "")
    # Flask-Login cannot compare a cookie that is not ASCII.
    found: str | None = decode_cookie(cookie) if cookie.isascii() else None
    return found


def _add_login(user: User) -> str:
    """Add a login to the database, delete expired ones, commit, and return its token."""
    token = secrets.token_urlsafe(32)
    db.session.execute(delete(Login).where(Login.expires < now()))
    db.session.add(Login(token_hash=_hash(token), user_id=user.id, expires=now() + DURATION))
    db.session.commit()
    return token


def _keep(token: str, *, remember: bool) -> None:
    """Put a token into the session, and with ``remember`` into a cookie of its own."""
    session[TOKEN] = token
    after_this_request(_forbid_storing)
    if remember:
        seconds = int(DURATION.total_seconds())
        after_this_request(lambda response: send_cookie(response, REMEMBER, token, seconds))


def _end_all(user_id: int) -> None:
    db.session.execute(delete(Login).where(Login.user_id == user_id))
    _refuse_old_cookies(user_id)


def _refuse_old_cookies(user_id: int) -> None:
    old = update(User).where(User.id == user_id, User.old_cookies_until.is_not(None))
    db.session.execute(old.values(old_cookies_until=None))


def _forget() -> None:
    flask_login.logout_user()
    session.clear()
    _delete_cookies([cookie_name(REMEMBER)])


def _delete_cookies(names: list[str]) -> None:
    for name in names:
        after_this_request(partial(delete_cookie, name=name))


def _forbid_storing(response: Response) -> Response:
    """Keep a logged-in user's page out of the browser's cache and of other caches."""
    response.headers["Cache-Control"] = "no-store"
    return response


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
