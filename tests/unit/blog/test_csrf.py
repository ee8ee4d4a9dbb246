"""The CSRF token: a form with a bad token is shown again with its input, and changes nothing."""

from __future__ import annotations

from io import BytesIO

import pytest

from tests.support.visitor import PASSWORD, registration

EXPIRED = "This form has expired. Please check it and send it again."


def test_an_expired_post_form_is_shown_again_with_its_text(app, susan):
    app.config["WTF_CSRF_TIME_LIMIT"] = -1
    page = susan.send("/", post="A long thought")
    assert page.status == 400
    assert EXPIRED in page.text
    assert "A long thought</textarea>" in page.text


def test_an_expired_registration_is_shown_again_without_the_passwords(app, visitor):
    app.config["WTF_CSRF_TIME_LIMIT"] = -1
    page = visitor.send("/register", **registration("susan"))
    assert page.status == 400
    assert EXPIRED in page.text
    assert 'value="susan"' in page.text
    assert 'value="susan@example.com"' in page.text
    assert PASSWORD not in page.text


@pytest.mark.parametrize("token", ["", "forged", "\0", "a.b.c"])
def test_a_form_with_a_forged_token_changes_nothing(susan, token):
    page = susan.open("/", csrf_token=token, post="Not mine")
    assert page.status == 400
    assert "Not mine" not in susan.open("/explore").text


def test_a_form_that_is_shown_again_can_be_sent(app, visitor):
    app.config["WTF_CSRF_TIME_LIMIT"] = -1
    assert visitor.register("susan").status == 400
    app.config["WTF_CSRF_TIME_LIMIT"] = 3600
    assert visitor.register("susan").url == "/login"


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
def test_a_json_client_without_a_token_gets_a_problem_document(susan, accept):
    answer = susan.client.post("/", data={"post": "Beep"}, headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert answer.json["detail"] == EXPIRED


@pytest.mark.parametrize("path", ["/login", "/register"])
@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"username": 5, "password": {}, "email": ["a"]}},
        {"json": {"username": "\ud800", "password": "\ud800"}},
        {"json": ["a", "list"]},
    ],
)
def test_json_in_place_of_a_form_is_a_form_error(visitor, path, sent):
    assert visitor.client.post(path, **sent).status_code == 400


@pytest.mark.parametrize("path", ["/login", "/register"])
def test_a_file_in_place_of_a_text_is_a_form_error(visitor, path):
    data = {"username": (BytesIO(b"a"), "name.txt"), "csrf_token": visitor.token(path)}
    answer = visitor.client.post(path, data=data)
    assert (answer.status_code, "There is a problem" in answer.text) == (200, True)


def test_a_client_that_does_not_name_json_gets_the_form_again(visitor):
    data = {"username": "susan"}
    answer = visitor.client.post("/login", data=data, headers={"Accept": "application/*"})
    assert (answer.status_code, 'value="susan"' in answer.text) == (400, True)
