"""Cookies have names of their own, and those with the names of earlier versions are taken once."""

from __future__ import annotations

import pytest

from app.cookie_names import cookie_names

EARLIER = {"microblog_session": "session", "microblog_remember": "remember_token"}


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("", "microblog_session"),
        ("microblog", "microblog_session"),
        ("staging", "microblog_staging_session"),
        ("Odd; name", "microblog_odd_name_session"),
    ],
)
def test_each_stack_has_cookies_of_its_own(stack, name):
    assert cookie_names(stack)["SESSION_COOKIE_NAME"] == name


def test_the_name_of_the_stack_comes_from_the_environment(make_app, monkeypatch):
    monkeypatch.setenv("STACK_NAME", "staging")
    assert make_app().config["REMEMBER_COOKIE_NAME"] == "microblog_staging_remember"


def values(visitor):
    """Return the visitor's cookies by name."""
    names = [*EARLIER, *EARLIER.values()]
    found = {name: visitor.client.get_cookie(name) for name in names}
    return {name: cookie.value for name, cookie in found.items() if cookie}


def upgrade(visitor):
    """Give the cookies of a visitor the names that they had before."""
    for name, earlier in EARLIER.items():
        cookie = visitor.client.get_cookie(name)
        if cookie:
            visitor.client.delete_cookie(name)
            visitor.client.set_cookie(earlier, cookie.value)


def test_a_login_from_an_earlier_version_goes_on_under_the_new_names(visitor):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    before = values(visitor)
    upgrade(visitor)
    assert visitor.open("/edit_profile").url == "/edit_profile"
    assert values(visitor).keys() == EARLIER.keys()
    assert values(visitor)["microblog_remember"] == before["microblog_remember"]
    visitor.client.delete_cookie("microblog_session")
    assert visitor.open("/edit_profile").url == "/edit_profile"


def test_a_logout_with_the_earlier_cookies_ends_the_login(visitor):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    token = visitor.token("/edit_profile")
    upgrade(visitor)
    visitor.open("/logout", csrf_token=token)
    assert visitor.open("/edit_profile").url == "/login?next=%2Fedit_profile"


@pytest.mark.parametrize("value", ["another-apps", "b\u00e4d", "eyJhIjoxfQ.aaaa.bbbb", "1|abc"])
def test_the_cookies_of_another_app_are_left_alone(visitor, value):
    for name in EARLIER.values():
        visitor.client.set_cookie(name, value)
    assert visitor.open("/").status == 200
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    assert visitor.open("/edit_profile").url == "/edit_profile"
    kept = [visitor.client.get_cookie(name).decoded_value for name in EARLIER.values()]
    assert kept == [value, value]
