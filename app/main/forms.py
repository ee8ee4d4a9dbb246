"""The forms for a post and for the profile."""

from __future__ import annotations

from flask_login import current_user
from wtforms import Field, StringField, SubmitField, TextAreaField
from wtforms.validators import DataRequired, Length

from ..auth.forms import USERNAME_RULES, username_is_free
from ..forms import Form, is_storable, trimmed
from ..models import ABOUT_ME_LENGTH, POST_LENGTH


class PostForm(Form):
    """A new post."""

    post = TextAreaField(
        "Say something",
        filters=[trimmed],
        validators=[
            DataRequired("Please write something first."),
            is_storable,
            Length(max=POST_LENGTH, message="Please use at most %(max)d characters."),
        ],
    )
    submit = SubmitField("Post")


def username_is_free_or_own(form: Form, field: Field) -> None:
    """Validate that nobody else has this username; users may change the case of their own."""
    if field.data.lower() != current_user.username_lower:
        username_is_free(form, field)


class EditProfileForm(Form):
    """The user's name and description."""

    username = StringField(
        "Username", filters=[trimmed], validators=[*USERNAME_RULES, username_is_free_or_own]
    )
    about_me = TextAreaField(
        "About me",
        filters=[trimmed],
        validators=[
            is_storable,
            Length(max=ABOUT_ME_LENGTH, message="Please use at most %(max)d characters."),
        ],
    )
    submit = SubmitField("Save")
