from __future__ import annotations

import pytest
from sqlalchemy import select

from app.database import db
from app.models import User
from tests.support.visitor import PASSWORD, registration


def test_a_visitor_registers_and_is_sent_to_log_in(app, visitor):
    page = visitor.register("Susan", "susan@example.com")
    assert page.url == "/login"
    assert "Congratulations, you are now a registered user!" in page.text
    with app.app_context():
        user = db.session.scalar(select(User))
        assert (user.username, user.username_lower) == ("Susan", "susan")
        assert PASSWORD not in user.password_hash


def test_a_name_that_is_taken_is_refused_whatever_its_case(susan, visitor):
    page = visitor.register("SUSAN", "other@example.com")
    assert page.status == 200
    assert "Please use a different username." in page.text


def test_an_address_that_is_taken_is_refused_whatever_its_case(susan, visitor):
    page = visitor.register("other", "SUSAN@example.com")
    assert "Please use a different email address." in page.text


def test_what_was_typed_is_kept_but_not_the_passwords(susan, visitor):
    page = visitor.register("susan", "typed@example.com")
    assert 'value="typed@example.com"' in page.text
    assert PASSWORD not in page.text


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a" * 65, "su san", "susan\0", "sus\ud800an", "zoë", "a/b", "a\n", "<b>"],
)
def test_a_name_that_cannot_be_is_a_form_error(app, visitor, name):
    form = registration("x") | {"username": name, "email": "x@example.com"}
    token = visitor.token("/register")
    # Lone surrogates cannot be sent as UTF-8: as a client without scruples would encode them.
    body = {key: value.encode("utf-8", "surrogatepass") for key, value in form.items()}
    response = visitor.client.post("/register", data=body | {"csrf_token": token})
    if name != "a\n":  # white space around a name is no part of it
        assert response.status_code == 200
        assert "There is a problem" in response.text
    with app.app_context():
        names = db.session.scalars(select(User.username)).all()
    assert names == (["a"] if name == "a\n" else [])


@pytest.mark.parametrize(
    "email", ["", "susan", "@example.com", "susan@", "a b@c", "a@b\0", "İ" * 60 + "@example.com"]
)
def test_an_address_that_cannot_be_is_a_form_error(visitor, email):
    fields = registration("susan") | {"email": email}
    page = visitor.send("/register", **fields)
    assert page.status == 200
    assert "There is a problem" in page.text


def test_an_address_of_121_characters_is_a_form_error(visitor):
    page = visitor.register("susan", "a" * 109 + "@example.com")
    assert "Please use at most 120 characters." in page.text
    assert visitor.register("susan", "a" * 108 + "@example.com").url == "/login"


def test_two_passwords_that_differ_are_a_form_error(visitor):
    page = visitor.send("/register", **registration("susan") | {"password2": "other"})
    assert "The two passwords differ." in page.text


def test_errors_are_tied_to_their_fields(visitor):
    page = visitor.send("/register", username="susan")
    assert "<title>Error: Register - Microblog</title>" in page.text
    assert '<a href="#email">Please enter an email address.</a>' in page.text
    assert 'id="email-error"' in page.text
    assert 'aria-describedby="email-error email-hint"' in page.text
