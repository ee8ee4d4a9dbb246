"""The fields that the macros write are those that WTForms' own widgets would write."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from flask import render_template_string
from wtforms import BooleanField

from app.auth.forms import ChangePasswordForm, LoginForm, RegistrationForm
from app.main.forms import EditProfileForm, PostForm

HOSTILE = "\"'><script>&amp;"
MACRO = """
{% from "forms.html" import check, field %}
{% if is_check %}{{ check(one) }}{% else %}{{ field(one, hint=hint, **attributes) }}{% endif %}
"""


class Inputs(HTMLParser):
    """Collects inputs, text areas and labels: name, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("input", "textarea", "label"):
            assert len(dict(attrs)) == len(attrs), attrs
            self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found and data.strip():
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data.strip())


def fields(form):
    kinds = ("submit", "hidden")
    return [one for one in form if getattr(one.widget, "input_type", "") not in kinds]


@pytest.mark.parametrize("data", [{}, {"username": HOSTILE, "about_me": HOSTILE, "post": HOSTILE}])
@pytest.mark.parametrize("hint", ["", "A hint."])
@pytest.mark.parametrize(
    "form_class",
    [LoginForm, RegistrationForm, ChangePasswordForm, PostForm, EditProfileForm],
)
def test_the_macros_write_what_the_widgets_write(app, form_class, data, hint):
    with app.test_request_context("/", method="POST", data=data):
        form = form_class(**({} if data else {"remember_me": True}))
        if not data:
            form.validate_on_submit()
        for one in fields(form):
            is_check = isinstance(one, BooleanField)
            attributes = {} if is_check else {"autocomplete": "x", "spellcheck": "false"}
            described = [f"{one.id}-error" if one.errors else "", f"{one.id}-hint" if hint else ""]
            aria = {
                "aria_describedby": " ".join(filter(None, described)) or False,
                "aria_invalid": "true" if one.errors else False,
            }
            expected = str(one.label) + one(**attributes, **({} if is_check else aria))
            written = render_template_string(
                MACRO, one=one, hint=hint, attributes=attributes, is_check=is_check
            )
            found = Inputs(written.replace("A hint.", "").replace(" ".join(one.errors), "")).found
            assert sorted(found, key=str) == sorted(Inputs(expected).found, key=str)


def test_the_csrf_token_of_the_navigation_is_that_of_the_forms(susan):
    text = susan.open("/edit_profile").text
    tokens = set(text.split('name="csrf_token" type="hidden" value="')[1:])
    assert len({token.partition('"')[0] for token in tokens}) == 1
    assert len(text.split('name="csrf_token"')) == 4
