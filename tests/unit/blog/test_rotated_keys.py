"""While the secret key is rotated, visitors stay logged in and open forms can be sent."""

from __future__ import annotations

import pytest
from flask import Flask
from itsdangerous import BadSignature

SESSION = "microblog_session"
OLD, NEW, OTHER = ("o" * 40, "n" * 40, "x" * 40)


def rotate(app: Flask, current: str, *others: str) -> None:
    app.config.update(SECRET_KEY=current, SECRET_KEY_FALLBACKS=list(others))


def session_cookie(visitor) -> str:
    return str(visitor.client.get_cookie(SESSION).value)


def test_a_form_that_was_opened_before_the_rotation_can_be_sent_after_it(app, susan):
    token = susan.token("/")
    rotate(app, NEW, app.config["SECRET_KEY"])
    assert susan.open("/", csrf_token=token, post="Written before").status == 200
    assert "Written before" in susan.open("/explore").text


def test_a_form_of_a_new_container_can_be_sent_to_an_old_one(app, susan):
    old = app.config["SECRET_KEY"]
    rotate(app, NEW, old)
    token = susan.token("/")
    rotate(app, old, NEW)
    assert susan.open("/", csrf_token=token, post="To the old one").status == 200
    assert "To the old one" in susan.open("/explore").text


def test_a_form_of_a_key_that_was_dropped_is_refused(app, susan):
    token = susan.token("/")
    susan_key = app.config["SECRET_KEY"]
    rotate(app, NEW, susan_key)
    susan.open("/")
    rotate(app, NEW)
    assert susan.open("/", csrf_token=token, post="Too late").status == 400


def test_a_session_is_signed_again_with_the_new_key_and_so_survives_the_next_rotation(app, susan):
    susan.open("/")
    rotate(app, NEW, app.config["SECRET_KEY"])
    assert susan.open("/edit_profile").url == "/edit_profile"
    signer = app.session_interface.get_signing_serializer(app)
    signer.secret_keys = signer.secret_keys[-1:]
    assert "_user_id" in signer.loads(session_cookie(susan))
    rotate(app, OTHER, NEW)
    assert susan.open("/edit_profile").url == "/edit_profile"


def test_signing_one_session_again_does_not_refuse_the_others(app, susan):
    susan.open("/")
    cookie = session_cookie(susan)
    rotate(app, NEW, app.config["SECRET_KEY"])
    susan.open("/edit_profile")
    assert session_cookie(susan) != cookie
    assert "_user_id" in app.session_interface.get_signing_serializer(app).loads(cookie)


def test_a_session_that_is_signed_with_the_current_key_is_not_sent_again(app, susan):
    rotate(app, app.config["SECRET_KEY"], OLD)
    response = susan.client.get("/edit_profile")
    assert response.status_code == 200
    names = [line.partition("=")[0] for line in response.headers.getlist("Set-Cookie")]
    assert SESSION not in names


def test_a_session_of_an_unknown_key_is_refused(app, susan):
    cookie = session_cookie(susan)
    rotate(app, NEW, OLD)
    with pytest.raises(BadSignature):
        app.session_interface.get_signing_serializer(app).loads(cookie)
    assert susan.open("/edit_profile").url.startswith("/login")
