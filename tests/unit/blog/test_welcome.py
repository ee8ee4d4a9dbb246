"""The home page of a visitor who is not logged in."""

from __future__ import annotations

from tests.unit.blog.conftest import ClientVisitor


def test_the_home_page_says_what_the_site_is_and_where_to_go(visitor, queries):
    with queries() as statements:
        page = visitor.open("/")
    assert (page.status, page.url) == (200, "/")
    assert "Microblog is the demo app of Flask Mayday." in page.text
    for address in ("/drill", "/explore", "/register", "/login"):
        assert f'href="{address}"' in page.text
    assert statements == []


def test_the_home_page_of_a_user_is_the_timeline(susan):
    page = susan.open("/")
    assert "Hi, susan!" in page.text
    assert "Microblog is the demo app" not in page.text


def test_without_drills_the_page_does_not_offer_to_break_something(make_app):
    app = make_app(DRILL=False, DATABASE_URL="sqlite://")
    assert "/drill" not in ClientVisitor(app).open("/").text


def test_posting_needs_a_login(visitor):
    page = visitor.open("/", csrf_token=visitor.token("/login"), post="Hello")
    assert page.url == "/login?next=%2F"
    assert "Hello" not in visitor.open("/explore").text
