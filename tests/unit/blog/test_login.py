"""Login and logout, with sessions, remember-me cookies and the redirect back."""

from __future__ import annotations

import logging
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import delete, select, update

from app.database import db
from app.models import Login, User, now
from tests.support.visitor import PASSWORD
from tests.unit.blog.conftest import ClientVisitor

SESSION = "microblog_session"
REMEMBER = "microblog_remember"


def is_logged_out(visitor):
    return visitor.open("/edit_profile").url == "/login?next=%2Fedit_profile"


def test_a_page_that_needs_a_login_redirects_there_and_back(visitor):
    visitor.register("susan")
    page = visitor.open("/edit_profile")
    assert page.url == "/login?next=%2Fedit_profile"
    assert "Please log in to access this page." in page.text
    page = visitor.send(page.url, username="SUSAN", password=PASSWORD)
    assert page.url == "/edit_profile"


@pytest.mark.parametrize(("username", "password"), [("susan", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(visitor, username, password):
    visitor.register("susan")
    page = visitor.send("/login", username=username, password=password)
    assert "Invalid username or password." in page.text
    assert f'value="{username}"' in page.text


@pytest.mark.parametrize("name", ["a\0b", "x" * 500, "\U0001f600", "' OR 1=1"])
def test_login_with_an_invalid_name_fails(visitor, name):
    page = visitor.send("/login", username=name, password="x")
    assert page.status == 200
    assert "Invalid username or password." in page.text


def test_a_failed_login_is_logged_without_the_typed_name_and_password(visitor, caplog):
    visitor.register("susan")
    with caplog.at_level(logging.INFO):
        visitor.send("/login", username="my-password-by-mistake", password="secret-typed")
        visitor.send("/login", username="susan", password="secret-typed")
    assert "Login failed for an unknown name" in caplog.text
    assert "Login failed for user 1" in caplog.text
    assert "mistake" not in caplog.text
    assert "secret-typed" not in caplog.text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "evil.example",
        "///evil.example",
        "\\\\evil.example",
        "/\x01/evil.example",
        "/explore\0",
    ],
)
def test_login_does_not_redirect_to_another_site(visitor, target):
    visitor.register("susan")
    token = visitor.token("/login")
    response = visitor.client.post(
        "/login",
        query_string={"next": target},
        data={"csrf_token": token, "username": "susan", "password": PASSWORD},
    )
    assert response.status_code == 302
    assert response.location == "/"


def test_remember_me_logs_in_again_after_the_session_ends(visitor):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    cookie = visitor.client.get_cookie(REMEMBER)
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert cookie.max_age == 30 * 24 * 60 * 60
    visitor.client.delete_cookie(SESSION)
    assert "Hi, susan!" in visitor.open("/").text


def test_without_remember_me_the_login_ends_with_the_session(susan):
    assert susan.client.get_cookie(REMEMBER) is None
    susan.client.delete_cookie(SESSION)
    assert is_logged_out(susan)


def test_the_remember_me_cookie_is_random_and_stored_as_a_hash(app, visitor):
    visitor.register("susan")
    tokens = set()
    for _ in range(2):
        visitor.log_in("susan", remember_me="y")
        tokens.add(visitor.client.get_cookie(REMEMBER).value)
        visitor.open("/logout", csrf_token=visitor.token("/explore"))
    visitor.log_in("susan", remember_me="y")
    tokens.add(visitor.client.get_cookie(REMEMBER).value)
    assert len(tokens) == 3
    with app.app_context():
        (stored,) = db.session.scalars(select(Login.token_hash))
    assert stored not in tokens
    assert stored == sha256(visitor.client.get_cookie(REMEMBER).value.encode()).hexdigest()


@pytest.mark.parametrize("path", ["/logout", "/logout_everywhere"])
def test_after_a_logout_copies_of_the_cookies_do_not_log_in(visitor, path):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    copies = {name: visitor.client.get_cookie(name).value for name in (SESSION, REMEMBER)}
    page = visitor.open(path, csrf_token=visitor.token("/edit_profile"))
    assert page.url == "/"
    for name, value in copies.items():
        visitor.client.delete_cookie(SESSION)
        visitor.client.delete_cookie(REMEMBER)
        visitor.client.set_cookie(name, value)
        assert is_logged_out(visitor)


def test_a_logout_ends_one_login_and_a_logout_everywhere_all_of_them(app, susan):
    others = [ClientVisitor(app) for _ in range(2)]
    for other in others:
        other.log_in("susan", remember_me="y")
    susan.open("/logout", csrf_token=susan.token("/edit_profile"))
    assert is_logged_out(susan)
    assert not is_logged_out(others[0])
    others[0].open("/logout_everywhere", csrf_token=others[0].token("/edit_profile"))
    assert is_logged_out(others[0])
    assert is_logged_out(others[1])


def test_a_login_expires(app, visitor):
    visitor.register("susan")
    visitor.log_in("susan", remember_me="y")
    with app.app_context():
        db.session.execute(update(Login).values(expires=now() - timedelta(seconds=1)))
        db.session.commit()
    assert is_logged_out(visitor)
    assert visitor.client.get_cookie(REMEMBER) is None
    visitor.log_in("susan")
    with app.app_context():
        assert len(db.session.scalars(select(Login)).all()) == 1


def test_the_pages_of_a_logged_in_user_are_not_stored(susan, visitor):
    for path in ("/", "/explore", "/user/susan", "/edit_profile", "/change_password"):
        assert susan.client.get(path).headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in visitor.client.get("/explore").headers


def test_the_csrf_token_from_before_the_login_is_not_valid_after_it(visitor):
    visitor.register("susan")
    token = visitor.token("/login")
    visitor.log_in("susan")
    assert visitor.open("/", csrf_token=token, post="Not mine").status == 400


@pytest.mark.parametrize("cookie", ["1|é", "1|" + "0" * 128, "|", "99999999999999|x", "1\x7f|ÿ"])
def test_a_forged_remember_me_cookie_is_ignored(visitor, cookie):
    visitor.register("susan")
    for name in (REMEMBER, "remember_token"):
        visitor.client.set_cookie(name, cookie)
        assert is_logged_out(visitor)
        visitor.client.delete_cookie(name)


@pytest.mark.parametrize("identifier", ["7", "", "-1", "x", "9" * 30, "\0", None, "¹"])
def test_a_session_with_an_unknown_user_id_is_ignored(visitor, identifier):
    with visitor.client.session_transaction() as session:
        session["_user_id"] = identifier
    assert is_logged_out(visitor)


def test_a_deleted_user_is_logged_out(app, susan):
    with app.app_context():
        db.session.execute(delete(User))
        db.session.commit()
    assert is_logged_out(susan)
    assert susan.open("/explore").status == 200


def test_logout_needs_a_post_with_a_valid_token(susan):
    assert susan.client.get("/logout").status_code == 405
    page = susan.open("/logout", csrf_token="forged")
    assert "Please log out again." in page.text
    assert "Hi, susan!" in page.text
    page = susan.open("/logout", csrf_token=susan.token("/explore"))
    assert page.url == "/"
    assert is_logged_out(susan)


def test_login_and_registration_redirect_a_logged_in_user_to_the_home_page(susan):
    assert susan.open("/login").url == "/"
    assert susan.open("/register").url == "/"
