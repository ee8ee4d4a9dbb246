from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.database import db
from app.models import User, now


def test_a_name_that_is_taken_is_refused(susan, john):
    page = susan.send("/edit_profile", username="John", about_me="typed")
    assert page.status == 200
    assert "Please use a different username." in page.text
    assert 'value="John"' in page.text
    assert "typed</textarea>" in page.text
    assert susan.open("/user/susan").status == 200


@pytest.mark.parametrize("name", ["susan", "Susan", "SUSAN", "sue"])
def test_the_own_name_and_a_free_one_are_taken(susan, name):
    page = susan.send("/edit_profile", username=name, about_me="")
    assert "Your changes have been saved." in page.text
    assert f"Hi, {name}!" in susan.open("/").text


@pytest.mark.parametrize("name", ["a" * 65, "susan\0", "..", ""])
def test_a_name_that_cannot_be_is_a_form_error(susan, name):
    assert "There is a problem" in susan.send("/edit_profile", username=name, about_me="").text
    assert "Hi, susan!" in susan.open("/").text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a" * 141, "Please use at most 140 characters."),
        ("a\0b", "Please remove the character that cannot be saved."),
    ],
)
def test_what_cannot_be_saved_is_a_form_error(susan, text, message):
    page = susan.send("/edit_profile", username="susan", about_me=text)
    assert page.status == 200
    assert message in page.text


def test_a_line_end_counts_one_character(susan):
    text = "a" * 69 + "\r\n" + "b" * 70
    page = susan.send("/edit_profile", username="susan", about_me=text)
    assert "Your changes have been saved." in page.text


def test_a_user_page_is_found_whatever_the_case_and_not_for_others(susan):
    assert "Last seen on" in susan.open("/user/SUSAN").text
    assert "Edit your profile" in susan.open("/user/susan").text
    for name in ("nobody", "%00", "a" * 65, "%ED%A0%80", "%FF", "zoë", "a%0A", "%20susan"):
        assert susan.open(f"/user/{name}").status == 404


def test_others_see_the_page_without_the_means_to_edit(susan, visitor):
    page = visitor.open("/user/susan")
    assert "susan has not said anything yet." in page.text
    assert "Edit your profile" not in page.text


def test_last_seen_is_written_once_a_minute_and_not_by_errors(app, susan, queries):
    def see(path: str) -> int:
        with queries() as statements:
            susan.open(path)
        return sum(statement.startswith("UPDATE") for statement in statements)

    assert see("/") == 0
    with app.app_context():
        db.session.execute(update(User).values(last_seen=now() - timedelta(minutes=2)))
        db.session.commit()
    assert see("/nowhere") == 0
    assert see("/") == 1
    assert see("/") == 0
    with app.app_context():
        assert now() - db.session.scalar(select(User.last_seen)) < timedelta(minutes=1)
