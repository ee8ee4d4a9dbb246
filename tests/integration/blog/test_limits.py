"""PostgreSQL's limits, which SQLite does not have, are messages on a form: never a 500."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect

from tests.support.visitor import Visitor, registration


@pytest.fixture
def susan(site: str) -> Visitor:
    visitor = Visitor(site)
    visitor.register("susan")
    visitor.log_in("susan")
    return visitor


def test_what_does_not_fit_is_refused_by_every_form(site: str, susan: Visitor) -> None:
    cannot = ["x" * 65, "x" * 10_000, "nul\0", "\0"]
    for text in cannot:
        visitor = Visitor(site)
        for field in ("username", "email"):
            fields = registration("x") | {field: text if field == "username" else f"{text}@b.c" * 3}
            page = visitor.send("/register", **fields)
            assert (page.status, "There is a problem" in page.text) == (200, True)
        page = visitor.send("/login", username=text, password=text)
        assert (page.status, "Invalid username or password" in page.text) == (200, True)
        page = susan.send("/edit_profile", username=text, about_me="")
        assert (page.status, "There is a problem" in page.text) == (200, True)
    for text in ("x" * 141, "nul\0"):
        page = susan.send("/edit_profile", username="susan", about_me=text)
        assert (page.status, "There is a problem" in page.text) == (200, True)
        page = susan.send("/", post=text)
        assert (page.status, "There is a problem" in page.text) == (200, True)


def test_what_just_fits_is_taken(site: str, susan: Visitor) -> None:
    name, widest = "x" * 64, "\U0001f600" * 140
    visitor = Visitor(site)
    assert visitor.register(name, "e" * 108 + "@example.com").url.endswith("/login")
    assert f"Hi, {name}!" in visitor.log_in(name).text
    assert "Your post is now live!" in susan.send("/", post=widest).text
    page = susan.send("/edit_profile", username="Susan", about_me=widest)
    assert "Your changes have been saved." in page.text


def test_addresses_that_nobody_meant_are_not_found(site: str, susan: Visitor) -> None:
    for path in (
        "/user/%00",
        "/user/" + "x" * 65,
        "/user/%ED%A0%80",
        "/explore?before=" + "9" * 30,
    ):
        assert susan.open(path).status == 404
    for key in ("before", "after"):
        assert susan.open(f"/explore?{key}=9999999999").status == 200


def test_the_database_has_the_constraints_by_name(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
    names = {each["name"] for each in inspect(engine).get_unique_constraints("user")}
    engine.dispose()
    assert names == {"uq_user_username_lower", "uq_user_email_lower"}
