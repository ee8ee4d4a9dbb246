"""The forms for registration, login and logout."""

from __future__ import annotations

import re
from typing import Final

from wtforms import BooleanField, EmailField, Field, PasswordField, StringField, SubmitField
from wtforms.validators import DataRequired, EqualTo, Length, Regexp, StopValidation

from .. import accounts
from ..forms import Form, trimmed
from ..models import EMAIL_LENGTH, USERNAME_LENGTH

# The same rule as in browsers: https://html.spec.whatwg.org/#valid-e-mail-address
DNS_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL_PATTERN: Final = re.compile(
    rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{DNS_LABEL}(?:\.{DNS_LABEL})*\Z"
)

USERNAME_RULES: Final = (
    DataRequired("Please enter a username."),
    Length(max=USERNAME_LENGTH, message="Please use at most %(max)d characters."),
    Regexp(
        accounts.USERNAME_PATTERN,
        message="Please use only letters, digits, dots, hyphens and underscores.",
    ),
)


def username_is_free(form: Form, field: Field) -> None:
    """Validate that nobody has this username."""
    if not field.errors and accounts.by_name(field.data) is not None:
        raise StopValidation(accounts.TAKEN_MESSAGES["username"])


def email_is_free(form: Form, field: Field) -> None:
    """Validate that nobody has this email address."""
    if not field.errors and accounts.by_email(field.data) is not None:
        raise StopValidation(accounts.TAKEN_MESSAGES["email"])


class LoginForm(Form):
    """Username and password."""

    username = StringField(
        "Username", filters=[trimmed], validators=[DataRequired("Please enter your username.")]
    )
    password = PasswordField("Password", validators=[DataRequired("Please enter your password.")])
    remember_me = BooleanField("Remember me")
    submit = SubmitField("Log in")


class RegistrationForm(Form):
    """A new account."""

    username = StringField(
        "Username", filters=[trimmed], validators=[*USERNAME_RULES, username_is_free]
    )
    email = EmailField(
        "Email",
        filters=[trimmed],
        validators=[
            DataRequired("Please enter an email address."),
            Length(max=EMAIL_LENGTH, message="Please use at most %(max)d characters."),
            Regexp(EMAIL_PATTERN, message="Please enter an address such as susan@example.com."),
            email_is_free,
        ],
    )
    password = PasswordField("Password", validators=[DataRequired("Please choose a password.")])
    password2 = PasswordField(
        "Repeat password",
        validators=[
            DataRequired("Please repeat the password."),
            EqualTo("password", message="The passwords do not match."),
        ],
    )
    submit = SubmitField("Register")


class LogoutForm(Form):
    """Only the CSRF token, so that another site cannot log the visitor out."""
