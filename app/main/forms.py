"""The forms of the blog: a post, a profile."""

from __future__ import annotations

from flask_login import current_user
from wtforms import Field, StringField, SubmitField, TextAreaField
from wtforms.validators import DataRequired, Length

from ..auth.forms import NAME_RULES, free_name
from ..forms import Form, storable, trimmed
from ..models import ABOUT_ME_LENGTH, POST_LENGTH


class PostForm(Form):
    """Something to say."""

    post = TextAreaField(
        "Say something",
        filters=[trimmed],
        validators=[
            DataRequired("Please write something first."),
            storable,
            Length(max=POST_LENGTH, message="Please use at most %(max)d characters."),
        ],
    )
    submit = SubmitField("Submit")


def free_or_own_name(form: Form, field: Field) -> None:
    """Refuse a username that somebody else has; the user's own may be written another way."""
    if field.data.lower() != current_user.username_lower:
        free_name(form, field)


class EditProfileForm(Form):
    """Who the user is."""

    username = StringField(
        "Username", filters=[trimmed], validators=[*NAME_RULES, free_or_own_name]
    )
    about_me = TextAreaField(
        "About me",
        filters=[trimmed],
        validators=[
            storable,
            Length(max=ABOUT_ME_LENGTH, message="Please use at most %(max)d characters."),
        ],
    )
    submit = SubmitField("Submit")
