"""The base class of the blog's forms, and the filters and validators of their text fields."""

from __future__ import annotations

from typing import Final

from flask import abort, request
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from wtforms import Field
from wtforms.validators import StopValidation

from flask_mayday import prefers_json

from .rotated_keys import RotatedKeyCSRF

EXPIRED_MESSAGE: Final = "This form has expired. Please check it and send it again."


class Form(FlaskForm):  # type: ignore[misc]
    """A form with a CSRF token.

    If the token is missing, forged or expired, the form is shown again with an error, so that
    the visitor's input is not lost. A client that prefers JSON gets an error 400 instead.
    """

    class Meta(FlaskForm.Meta):  # type: ignore[misc]
        """Forms stay valid while the secret key is rotated, and have text fields only."""

        csrf_class = RotatedKeyCSRF

        def wrap_formdata(self, form: FlaskForm, formdata: object) -> MultiDict[str, str] | None:
            """Return the form that was sent, if any.

            Flask-WTF would also take JSON and uploaded files, whose values need not be texts.
            """
            del formdata
            return (form.is_submitted() and request.form) or None

    @property
    def status(self) -> int:
        """The status of the page that shows this form: 400 if its token was refused, else 200."""
        return 400 if self.errors.get("csrf_token") else 200

    def validate(self, extra_validators: object = None) -> bool:
        """Return whether every field is valid; answer 400 if a JSON client's token was refused."""
        valid = bool(super().validate(extra_validators))
        if self.errors.get("csrf_token"):
            if prefers_json(request.headers.get("Accept", "")):
                abort(400, EXPIRED_MESSAGE)
            self.set_error("csrf_token", EXPIRED_MESSAGE)
        return valid

    def set_error(self, field: str, message: str) -> None:
        """Make ``message`` the only error of ``field``."""
        self[field].errors = [message]


def trimmed(text: str | None) -> str:
    """Return ``text`` without surrounding white space and with LF line endings.

    Browsers send CR LF, but count it as one character against ``maxlength``.
    """
    return (text or "").replace("\r\n", "\n").strip()


def is_storable(form: Form, field: Field) -> None:
    """Validate that PostgreSQL can store the text: no NUL and no unpaired surrogates."""
    text = field.data or ""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise StopValidation("Please remove the character that cannot be saved.")
