"""Keeps sessions and open forms valid while the secret key is rotated.

Flask itself accepts sessions that one of ``SECRET_KEY_FALLBACKS`` has signed.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import cast

from flask import Flask, current_app, session
from flask.sessions import SecureCookieSessionInterface
from flask_wtf import FlaskForm
from flask_wtf.csrf import generate_csrf, validate_csrf
from itsdangerous import BadSignature
from wtforms import Field, ValidationError
from wtforms.csrf.core import CSRF

from .cookies import read_cookie


class RotatedKeyCSRF(CSRF):  # type: ignore[misc]
    """Signs tokens with the secret key, and accepts those that a fallback has signed."""

    def generate_csrf_token(self, csrf_token_field: Field) -> str:
        """Return a token for the visitor's session."""
        return cast("str", generate_csrf())

    def validate_csrf_token(self, form: FlaskForm, field: Field) -> None:
        """Raise :exc:`~wtforms.ValidationError` unless one of the keys has signed the token."""
        for key in current_app.config["SECRET_KEY_FALLBACKS"]:
            with suppress(ValidationError):
                validate_csrf(field.data, key)
                return
        validate_csrf(field.data)


def init_app(app: Flask) -> None:
    """Re-sign sessions that an earlier key has signed, so that the next rotation keeps them."""
    app.before_request(_sign_again)


def _sign_again() -> None:
    if not current_app.config["SECRET_KEY_FALLBACKS"]:
        return
    cookie = read_cookie("session")
    if not cookie:
        return
    interface = cast("SecureCookieSessionInterface", current_app.session_interface)
    serializer = interface.get_signing_serializer(current_app)
    if serializer is None or not session:
        return
    serializer = copy(serializer)  # the interface keeps it for all requests
    serializer.secret_keys = serializer.secret_keys[-1:]  # without the fallbacks
    try:
        serializer.loads(cookie)
    except BadSignature:
        session.modified = True
