"""Keeps open forms valid while the secret key is rotated."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from flask import current_app
from flask_wtf import FlaskForm
from flask_wtf.csrf import generate_csrf, validate_csrf
from wtforms import Field, ValidationError
from wtforms.csrf.core import CSRF


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
