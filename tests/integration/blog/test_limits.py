"""Input that PostgreSQL cannot store (SQLite can) is a form error, and never a 500."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect

from tests.support.visitor import Visitor, registration


@pytest.fixture(scope="module")
def susan(site: str) -> Visitor:
    visitor = Visitor(site)
    visitor.register("susan")
    visitor.log_in("susan")
    return visitor


def test_every_form_refuses_input_that_postgresql_cannot_store(site: str, susan: Visitor) -> None:
    invalid = ["x" * 65, "x" * 10_000, "nul\0", "\0"]
    for text in invalid:
        visitor = Visitor(site)
        for field in ("username", "email"):
            fields = registration("x") | {field: text if field == "username" else f"{text}@b.c" * 3}
            page = visitor.send("/register", **fields)
            assert (page.status, "There is a problem" in page.text) == (200, True)
        page = visitor.send("/login", username=text, password=text)
        assert (page.status, "Invalid username or password." in page.text) == (200, True)
        page = susan.send("/edit_profile", username=text, about_me="")
        assert (page.status, "There is a problem" in page.text) == (200, True)
    for text in ("x" * 141, "nul\0"):
        page = susan.send("/edit_profile", username="susan", about_me=text)
        assert (page.status, "There is a problem" in page.text) == (200, True)
        page = susan.send("/", post=text)
        assert (page.status, "There is a problem" in page.text) == (200, True)


def test_the_longest_input_is_accepted(site: str, susan: Visitor) -> None:
    name, longest = "x" * 64, "\U0001f600" * 140
    visitor = Visitor(site)
    assert visitor.register(name, "e" * 108 + "@example.com").url.endswith("/login")
    assert f"Hi, {name}!" in visitor.log_in(name).text
    assert "Your post is now live!" in susan.send("/", post=longest).text
    page = susan.send("/edit_profile", username="Susan", about_me=longest)
    assert "Your changes have been saved." in page.text


def test_invalid_names_and_keys_in_addresses_are_not_found(site: str, susan: Visitor) -> None:
    for path in (
        "/user/%00",
        "/user/" + "x" * 65,
        "/user/%ED%A0%80",
        "/explore?before=" + "9" * 30,
    ):
        assert susan.open(path).status == 404
    for key in ("before", "after"):
        assert susan.open(f"/explore?{key}=9999999999").status == 200


def test_the_constraints_have_the_names_that_the_app_looks_for(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
    names = {each["name"] for each in inspect(engine).get_unique_constraints("user")}
    engine.dispose()
    assert names == {"uq_user_username_lower"}
