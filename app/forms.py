"""What the blog's forms share: a form that keeps what was typed, and text that can be stored."""

from __future__ import annotations

from typing import Final

from flask import abort, request
from flask_wtf import FlaskForm
from wtforms import Field
from wtforms.validators import StopValidation

EXPIRED: Final = "This form had expired. Please look it over and send it again."


class Form(FlaskForm):  # type: ignore[misc]
    """A form with a CSRF token of its own.

    One whose token is missing, forged or too old is shown again like any other mistake: an
    error page would throw away what the visitor has typed. A program gets the error.
    """

    @property
    def status(self) -> int:
        """The status of the page that shows this form: 400 if the token was refused, else 200."""
        return 400 if self.errors.get("csrf_token") else 200

    def validate(self, extra_validators: object = None) -> bool:
        """Check every field; say in plain words what a refused token means."""
        valid = bool(super().validate(extra_validators))
        if self.errors.get("csrf_token"):
            if _wants_json():
                abort(400, EXPIRED)
            self.refuse("csrf_token", EXPIRED)
        return valid

    def refuse(self, field: str, message: str) -> None:
        """Give ``field`` this one error, after all."""
        self[field].errors = [message]


def _wants_json() -> bool:
    """Return whether a program has sent the form: it weighs JSON above HTML."""
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def trimmed(text: str | None) -> str:
    """Return ``text`` without white space around it, its lines ended as we keep them.

    Browsers send CR LF and count one character for it against ``maxlength``.
    """
    return (text or "").replace("\r\n", "\n").strip()


def storable(form: Form, field: Field) -> None:
    """Refuse text that PostgreSQL cannot hold: NUL, and halves of surrogate pairs."""
    text = field.data or ""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise StopValidation("Please remove the character that cannot be saved.")
