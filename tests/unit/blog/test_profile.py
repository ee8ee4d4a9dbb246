"""User pages, and the form that edits a profile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.database import db
from app.models import User, now


def test_a_taken_name_is_refused(susan, john):
    page = susan.send("/edit_profile", username="John", about_me="typed")
    assert page.status == 200
    assert "Please use a different username." in page.text
    assert 'value="John"' in page.text
    assert "typed</textarea>" in page.text
    assert susan.open("/user/susan").status == 200


@pytest.mark.parametrize("name", ["susan", "Susan", "SUSAN", "sue"])
def test_a_user_can_take_a_free_name_or_change_the_case_of_their_own(susan, name):
    page = susan.send("/edit_profile", username=name, about_me="")
    assert "Your changes have been saved." in page.text
    assert f"Hi, {name}!" in susan.open("/").text


@pytest.mark.parametrize("name", ["a" * 65, "susan\0", "..", ""])
def test_an_invalid_name_is_a_form_error(susan, name):
    assert "There is a problem" in susan.send("/edit_profile", username=name, about_me="").text
    assert "Hi, susan!" in susan.open("/").text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a" * 141, "Please use at most 140 characters."),
        ("a\0b", "Please remove the character that cannot be saved."),
    ],
)
def test_an_invalid_description_is_a_form_error(susan, text, message):
    page = susan.send("/edit_profile", username="susan", about_me=text)
    assert page.status == 200
    assert message in page.text


def test_a_line_ending_counts_as_one_character(susan):
    text = "a" * 69 + "\r\n" + "b" * 70
    page = susan.send("/edit_profile", username="susan", about_me=text)
    assert "Your changes have been saved." in page.text


def test_a_user_page_is_found_in_any_case_and_not_for_an_unknown_name(susan):
    assert "Last seen on" in susan.open("/user/SUSAN").text
    assert "Edit your profile" in susan.open("/user/susan").text
    for name in ("nobody", "%00", "a" * 65, "%ED%A0%80", "%FF", "zoë", "a%0A", "%20susan"):
        assert susan.open(f"/user/{name}").status == 404


def test_others_do_not_see_the_edit_button(susan, visitor):
    page = visitor.open("/user/susan")
    assert "susan has not posted anything yet." in page.text
    assert "Edit your profile" not in page.text


def test_last_seen_is_written_once_a_minute_and_not_by_an_error_page(app, susan, queries):
    def updates(path: str) -> int:
        with queries() as statements:
            susan.open(path)
        return sum(statement.startswith("UPDATE") for statement in statements)

    assert updates("/") == 0
    with app.app_context():
        db.session.execute(update(User).values(last_seen=now() - timedelta(minutes=2)))
        db.session.commit()
    assert updates("/nowhere") == 0
    assert updates("/") == 1
    assert updates("/") == 0
    with app.app_context():
        assert now() - db.session.scalar(select(User.last_seen)) < timedelta(minutes=1)
