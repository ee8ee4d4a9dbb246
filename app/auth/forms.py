"""The forms for registration, login, logout and a new password."""

from __future__ import annotations

import re
from typing import Final

from flask_login import current_user
from wtforms import BooleanField, EmailField, Field, PasswordField, StringField, SubmitField
from wtforms.validators import DataRequired, EqualTo, Length, Regexp, StopValidation

from .. import accounts
from ..forms import Form, trimmed
from ..models import EMAIL_LENGTH, USERNAME_LENGTH
from .password_rules import problem_with

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
        raise StopValidation(accounts.TAKEN_MESSAGE)


def is_good_password(form: Form, field: Field) -> None:
    """Validate that a password is long enough, and not one that others would try first."""
    username = form.username.data if "username" in form else current_user.username
    problem = problem_with(field.data, username or "")
    if problem is not None:
        raise StopValidation(problem)


def new_password(label: str) -> PasswordField:
    """Return the field for a new password."""
    return PasswordField(
        label, validators=[DataRequired("Please choose a password."), is_good_password]
    )


def repeated_password() -> PasswordField:
    """Return the field in which the new password, in the field ``password``, is repeated."""
    return PasswordField(
        "Repeat password",
        validators=[
            DataRequired("Please repeat the password."),
            EqualTo("password", message="The passwords do not match."),
        ],
    )


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
        ],
    )
    password = new_password("Password")
    password2 = repeated_password()
    submit = SubmitField("Register")


class ChangePasswordForm(Form):
    """The current password and a new one."""

    current_password = PasswordField(
        "Current password", validators=[DataRequired("Please enter your current password.")]
    )
    password = new_password("New password")
    password2 = repeated_password()
    submit = SubmitField("Change password")


class LogoutForm(Form):
    """Only the CSRF token, so that another site cannot log the visitor out."""
