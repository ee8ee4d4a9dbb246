"""The page that changes the password, and what it ends."""

from __future__ import annotations

import pytest

from tests.support.visitor import PASSWORD
from tests.unit.blog.conftest import ClientVisitor
from tests.unit.blog.test_login import REMEMBER, SESSION, is_logged_out

NEW = "a much better passphrase"


def change(visitor, current=PASSWORD, new=NEW, repeated=NEW):
    fields = {"current_password": current, "password": new, "password2": repeated}
    return visitor.send("/change_password", **fields)


def test_a_new_password_replaces_the_old_one(app, susan):
    page = change(susan)
    assert page.url == "/edit_profile"
    assert "Your password has been changed." in page.text
    other = ClientVisitor(app)
    assert "Invalid username or password." in other.log_in("susan").text
    assert other.send("/login", username="susan", password=NEW).url == "/"


def test_a_new_password_ends_all_other_logins_and_copies_of_this_one(app, susan):
    other = ClientVisitor(app)
    other.log_in("susan", remember_me="y")
    before = susan.client.get_cookie(SESSION).value
    change(susan)
    assert not is_logged_out(susan)
    assert is_logged_out(other)
    susan.client.set_cookie(SESSION, before)
    assert is_logged_out(susan)


def test_a_remembered_login_stays_remembered(visitor):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    before = visitor.client.get_cookie(REMEMBER).value
    change(visitor)
    assert visitor.client.get_cookie(REMEMBER).value != before
    visitor.client.delete_cookie(SESSION)
    assert not is_logged_out(visitor)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"current": "wrong"}, "This is not your current password."),
        ({"repeated": "other"}, "The passwords do not match."),
        ({"new": "short", "repeated": "short"}, "Please use at least 10 characters."),
        ({"new": "susan12345", "repeated": "susan12345"}, "not your username"),
        ({"current": "", "new": "", "repeated": ""}, "Please enter your current password."),
    ],
)
def test_an_invalid_change_is_a_form_error(app, susan, fields, message):
    page = change(susan, **fields)
    assert page.status == 200
    assert message in page.text
    assert ClientVisitor(app).log_in("susan").url == "/"


def test_guesses_of_the_current_password_are_limited(susan, clock, caplog):
    statuses = [change(susan, current=f"guess {number}").status for number in range(6)]
    assert statuses == [200] * 5 + [429]
    assert caplog.text.count("Password change failed for user 1") == 5


def test_changing_the_password_needs_a_login(visitor):
    assert visitor.open("/change_password").url == "/login?next=%2Fchange_password"
