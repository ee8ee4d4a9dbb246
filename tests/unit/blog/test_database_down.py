"""What a logged-in visitor sees while the database is down."""

from __future__ import annotations

import pytest

from tests.unit.blog.conftest import ClientVisitor


@pytest.fixture
def visitor(make_app):
    visitor = ClientVisitor(
        make_app(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing", DRILL=True)
    )
    with visitor.client.session_transaction() as session:
        session["_user_id"] = "1"
    return visitor


@pytest.mark.parametrize("path", ["/", "/explore", "/user/susan", "/edit_profile", "/login"])
def test_pages_that_need_the_database_answer_503(visitor, path):
    page = visitor.open(path)
    assert page.status == 503
    assert "We&#39;ll be back in a moment" in page.text


def test_other_pages_and_error_pages_work(visitor):
    assert visitor.open("/drill").status == 200
    missing = visitor.open("/nowhere")
    assert (missing.status, "File Not Found" in missing.text) == (404, True)
    error = visitor.open("/drill/exception", message="test")
    assert (error.status, "An unexpected error has occurred" in error.text) == (500, True)


def test_the_welcome_page_works(make_app):
    stranger = ClientVisitor(make_app(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing"))
    assert stranger.open("/").status == 200
