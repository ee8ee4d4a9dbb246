"""The names of the cookies, their attributes under HTTPS, and cookies under old names."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from flask_login.utils import encode_cookie
from sqlalchemy import text, update

from app.database import db
from app.models import User, now
from tests.support.visitor import PASSWORD
from tests.unit.blog.conftest import ClientVisitor
from tests.unit.blog.test_login import REMEMBER, SESSION, is_logged_out

ROOT = Path(__file__).resolve().parents[3]
HTTPS = {"base_url": "https://blog.example/", "environ_base": {"REMOTE_ADDR": "192.0.2.7"}}


def log_in_over(client, **options):
    """Log in as susan and return the Set-Cookie headers of that response."""
    page = client.get("/login", **options)
    token = page.text.rpartition('name="csrf_token"')[2].split('value="')[1].partition('"')[0]
    data = {"csrf_token": token, "username": "susan", "password": PASSWORD, "remember_me": "y"}
    headers = {"Referer": "https://blog.example/login"}
    answer = client.post("/login", data=data, headers=headers, **options)
    assert answer.status_code == 302
    return answer.headers.getlist("Set-Cookie")


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ("", "microblog_session"),
        ("microblog", "microblog_session"),
        ("staging", "microblog_staging_session"),
        ("Odd; name", "microblog_odd_name_session"),
    ],
)
def test_each_stack_has_cookies_of_its_own(make_app, monkeypatch, stack, name):
    monkeypatch.setenv("STACK_NAME", stack)
    client = make_app().test_client()
    client.get("/login")
    assert client.get_cookie(name) is not None


def test_over_https_all_cookies_are_secure_and_for_this_host_only(app, susan):
    cookies = log_in_over(app.test_client(), **HTTPS)
    assert {cookie.partition("=")[0] for cookie in cookies} == {
        f"__Host-microblog_{purpose}" for purpose in ("session", "remember", "device")
    }
    for cookie in cookies:
        attributes = {part.strip() for part in cookie.split(";")}
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
        assert "Domain" not in cookie


def test_over_http_no_cookie_is_secure(app, susan):
    cookies = log_in_over(app.test_client())
    assert len(cookies) == 3
    for cookie in cookies:
        assert "Secure" not in cookie
        assert not cookie.startswith("__Host-")


def test_only_a_trusted_proxy_decides_that_a_request_is_secure(make_app):
    headers = {"X-Forwarded-Proto": "https"}
    for proxies, is_secure in ((0, False), (1, True)):
        client = make_app(TRUSTED_PROXIES=proxies).test_client()
        (cookie,) = client.get("/login", headers=headers).headers.getlist("Set-Cookie")
        assert ("Secure" in cookie) == is_secure == cookie.startswith("__Host-")


def test_nobody_is_logged_out_when_the_site_moves_to_https(app, susan):
    susan.open("/logout", csrf_token=susan.token("/explore"))
    log_in_over(susan.client)
    for name in (SESSION, REMEMBER):
        client = app.test_client()
        client.set_cookie(name, susan.client.get_cookie(name).value, domain="blog.example")
        assert client.get("/edit_profile", **HTTPS).status_code == 200
        client.delete_cookie(name, domain="blog.example")
        assert client.get("/edit_profile", **HTTPS).status_code == 200


# Cookies of the version that had no table of logins: a session with the user's id only, and
# Flask-Login's own remember cookie.


@pytest.fixture
def old_cookies(app, susan):
    """Return the cookies of an old login of susan, by name."""
    del susan
    with app.app_context():
        db.session.execute(update(User).values(old_cookies_until=now() + timedelta(days=31)))
        db.session.commit()
    with app.test_request_context():
        signer = app.session_interface.get_signing_serializer(app)
        return {
            "session": signer.dumps({"_user_id": "1", "_fresh": True, "csrf_token": "kept"}),
            "remember_token": encode_cookie("1"),
        }


@pytest.mark.parametrize("name", ["session", "remember_token"])
def test_an_old_cookie_logs_in_and_is_replaced(app, visitor, old_cookies, name):
    visitor.client.set_cookie(name, old_cookies[name])
    assert not is_logged_out(visitor)
    visitor.client.delete_cookie(name)
    assert not is_logged_out(visitor)
    if name == "remember_token":
        visitor.client.delete_cookie(SESSION)
        assert not is_logged_out(visitor)


def test_a_form_that_was_opened_before_the_upgrade_can_be_sent(visitor, old_cookies):
    visitor.client.set_cookie("session", old_cookies["session"])
    visitor.open("/edit_profile")
    with visitor.client.session_transaction() as session:
        assert session["csrf_token"] == "kept"


@pytest.mark.parametrize("name", ["session", "remember_token"])
@pytest.mark.parametrize("path", ["/logout", "/logout_everywhere", "/change_password"])
def test_ending_a_login_also_ends_old_cookies(app, visitor, old_cookies, name, path):
    for old_name, value in old_cookies.items():
        visitor.client.set_cookie(old_name, value)
    fields = {"current_password": PASSWORD, "password": "b" + PASSWORD, "password2": "b" + PASSWORD}
    token = visitor.token("/change_password")
    visitor.open(path, csrf_token=token, **(fields if path == "/change_password" else {}))
    other = ClientVisitor(app)
    other.client.set_cookie(name, old_cookies[name])
    assert is_logged_out(other)


@pytest.mark.parametrize("name", ["session", "remember_token"])
def test_the_documented_statements_log_everybody_out(app, visitor, old_cookies, name):
    visitor.client.set_cookie(name, old_cookies[name])
    assert not is_logged_out(visitor)
    page = (ROOT / "docs/operations.md").read_text()
    statements = re.search(r"'([^']+)'  # log everybody out", page)[1]
    with app.app_context():
        for statement in statements.split(";"):
            db.session.execute(text(statement))
        db.session.commit()
    assert is_logged_out(visitor)
    other = ClientVisitor(app)
    other.client.set_cookie(name, old_cookies[name])
    assert is_logged_out(other)


@pytest.mark.parametrize("name", ["session", "remember_token"])
def test_old_cookies_end_a_month_after_the_upgrade(app, visitor, old_cookies, name):
    with app.app_context():
        db.session.execute(update(User).values(old_cookies_until=now()))
        db.session.commit()
    visitor.client.set_cookie(name, old_cookies[name])
    assert is_logged_out(visitor)


@pytest.mark.parametrize("name", ["session", "remember_token"])
def test_the_cookie_of_another_app_on_this_host_is_left_alone(visitor, name):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    visitor.client.set_cookie(name, "eyJfdXNlcl9pZCI6IjEifQ.another-apps|signature")
    assert not is_logged_out(visitor)
    visitor.client.delete_cookie(SESSION)
    assert not is_logged_out(visitor)
    visitor.open("/logout", csrf_token=visitor.token("/edit_profile"))
    assert is_logged_out(visitor)
    assert visitor.client.get_cookie(name) is not None
