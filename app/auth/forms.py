"""The forms of registration and log-in."""

from __future__ import annotations

import re
from typing import Final

from wtforms import BooleanField, EmailField, Field, PasswordField, StringField, SubmitField
from wtforms.validators import DataRequired, EqualTo, Length, Regexp, StopValidation

from .. import accounts
from ..forms import Form, trimmed
from ..models import EMAIL_LENGTH, USERNAME_LENGTH

# What browsers take for an address: https://html.spec.whatwg.org/#valid-e-mail-address
LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL: Final = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{LABEL}(?:\.{LABEL})*\Z")

NAME_RULES: Final = (
    DataRequired("Please enter a username."),
    Length(max=USERNAME_LENGTH, message="Please use at most %(max)d characters."),
    Regexp(accounts.USERNAME, message="Please use letters, digits, dots, hyphens and underscores."),
)


def free_name(form: Form, field: Field) -> None:
    """Refuse a username that somebody has."""
    if not field.errors and accounts.by_name(field.data) is not None:
        raise StopValidation(accounts.TAKEN["username"])


def free_email(form: Form, field: Field) -> None:
    """Refuse an address that somebody has."""
    if not field.errors and accounts.by_email(field.data) is not None:
        raise StopValidation(accounts.TAKEN["email"])


class LoginForm(Form):
    """Who the visitor is."""

    username = StringField(
        "Username", filters=[trimmed], validators=[DataRequired("Please enter your username.")]
    )
    password = PasswordField("Password", validators=[DataRequired("Please enter your password.")])
    remember_me = BooleanField("Remember Me")
    submit = SubmitField("Sign In")


class RegistrationForm(Form):
    """Who the visitor would like to be."""

    username = StringField("Username", filters=[trimmed], validators=[*NAME_RULES, free_name])
    email = EmailField(
        "Email",
        filters=[trimmed],
        validators=[
            DataRequired("Please enter an email address."),
            Length(max=EMAIL_LENGTH, message="Please use at most %(max)d characters."),
            Regexp(EMAIL, message="Please enter an address such as susan@example.com."),
            free_email,
        ],
    )
    password = PasswordField("Password", validators=[DataRequired("Please choose a password.")])
    password2 = PasswordField(
        "Repeat Password",
        validators=[
            DataRequired("Please repeat the password."),
            EqualTo("password", message="The two passwords differ."),
        ],
    )
    submit = SubmitField("Register")


class LogoutForm(Form):
    """Nothing but the token: another site must not log anybody out."""
