"""Registration, and which names and addresses it accepts."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.database import db
from app.models import User
from tests.support.visitor import PASSWORD, registration


def test_registration_creates_a_user_and_redirects_to_the_login(app, visitor):
    page = visitor.register("Susan", "susan@example.com")
    assert page.url == "/login"
    assert "Congratulations, you are now a registered user!" in page.text
    with app.app_context():
        user = db.session.scalar(select(User))
        assert (user.username, user.username_lower) == ("Susan", "susan")
        assert PASSWORD not in user.password_hash


def test_a_taken_name_is_refused_in_any_case(susan, visitor):
    page = visitor.register("SUSAN", "other@example.com")
    assert page.status == 200
    assert "Please use a different username." in page.text


def test_nobody_learns_whether_an_address_has_an_account(susan, visitor):
    assert visitor.register("other", "SUSAN@example.com").url == "/login"
    assert visitor.log_in("other").status == 200


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("1", "Please use at least 10 characters."),
        ("123456789", "Please use at least 10 characters."),
        ("Margaret-Ann", "not your username"),
        ("1234567890", "many people use this one"),
        ("Password123!", "many people use this one"),
        ("QWERTYUIOP", "many people use this one"),
        ("ababababababab", "many people use this one"),
    ],
)
def test_a_bad_password_is_a_form_error(visitor, password, message):
    fields = registration("margaret-ann") | {"password": password, "password2": password}
    page = visitor.send("/register", **fields)
    assert page.status == 200
    assert message in page.text


def test_the_username_with_digits_is_refused_as_a_password(visitor):
    fields = registration("susan") | {"password": "Susan12345", "password2": "Susan12345"}
    assert "not your username" in visitor.send("/register", **fields).text


def test_the_form_keeps_its_input_except_the_passwords(susan, visitor):
    page = visitor.register("susan", "typed@example.com")
    assert 'value="typed@example.com"' in page.text
    assert PASSWORD not in page.text


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a" * 65, "su san", "susan\0", "sus\ud800an", "zoë", "a/b", "a\n", "<b>"],
)
def test_an_invalid_name_is_a_form_error(app, visitor, name):
    form = registration("x") | {"username": name, "email": "x@example.com"}
    token = visitor.token("/register")
    # An unpaired surrogate is not valid UTF-8, but a client can send it all the same.
    body = {key: value.encode("utf-8", "surrogatepass") for key, value in form.items()}
    response = visitor.client.post("/register", data=body | {"csrf_token": token})
    if name != "a\n":  # surrounding white space is removed
        assert response.status_code == 200
        assert "There is a problem" in response.text
    with app.app_context():
        names = db.session.scalars(select(User.username)).all()
    assert names == (["a"] if name == "a\n" else [])


@pytest.mark.parametrize(
    "email", ["", "susan", "@example.com", "susan@", "a b@c", "a@b\0", "İ" * 60 + "@example.com"]
)
def test_an_invalid_address_is_a_form_error(visitor, email):
    fields = registration("susan") | {"email": email}
    page = visitor.send("/register", **fields)
    assert page.status == 200
    assert "There is a problem" in page.text


def test_an_address_of_121_characters_is_a_form_error(visitor):
    page = visitor.register("susan", "a" * 109 + "@example.com")
    assert "Please use at most 120 characters." in page.text
    assert visitor.register("susan", "a" * 108 + "@example.com").url == "/login"


def test_passwords_that_do_not_match_are_a_form_error(visitor):
    page = visitor.send("/register", **registration("susan") | {"password2": "other"})
    assert "The passwords do not match." in page.text


def test_errors_are_linked_to_their_fields(visitor):
    page = visitor.send("/register", username="susan")
    assert "<title>Error: Register - Microblog</title>" in page.text
    assert '<a href="#email">Please enter an email address.</a>' in page.text
    assert 'id="email-error"' in page.text
    assert 'aria-describedby="email-error email-hint"' in page.text
