"""An app that uses the stack's secret key accepts sessions of its earlier keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask, session

from flask_mayday import ConfigurationError
from flask_mayday.gunicorn.key_fallbacks import accept_rotated_keys

OLD, NEW = "o" * 40, "n" * 40


def app_with(key: str) -> Flask:
    app = Flask("app")
    app.secret_key = key

    @app.get("/")
    def index() -> str:
        session.setdefault("name", "susan")
        return str(session["name"])

    @app.get("/name")
    def name() -> str:
        return str(session.get("name", "nobody"))

    return app


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "fallbacks").write_text(f"{OLD}\nanother\n")
    return {"SECRET_KEY": NEW, "MAYDAY_SECRET_KEY_FALLBACKS_FILE": f"{tmp_path}/fallbacks"}


def test_a_session_of_the_old_key_is_accepted(environ: dict[str, str]) -> None:
    before = app_with(OLD).test_client()
    before.get("/")
    cookie = before.get_cookie("session")
    assert cookie is not None
    app = app_with(NEW)
    accept_rotated_keys(app, environ)
    after = app.test_client()
    after.set_cookie("session", cookie.value)
    assert after.get("/name").text == "susan"


def test_a_blank_line_is_no_key(environ: dict[str, str]) -> None:
    Path(environ["MAYDAY_SECRET_KEY_FALLBACKS_FILE"]).write_text(f"{OLD}\n\n \nanother\n")
    app = app_with(NEW)
    accept_rotated_keys(app, environ)
    assert app.config["SECRET_KEY_FALLBACKS"] == [OLD, "another"]


def test_an_app_with_its_own_key_or_fallbacks_is_not_changed(environ: dict[str, str]) -> None:
    own = app_with("the app's own key")
    accept_rotated_keys(own, environ)
    assert own.config["SECRET_KEY_FALLBACKS"] is None
    other = app_with(NEW)
    other.config["SECRET_KEY_FALLBACKS"] = ["its own"]
    accept_rotated_keys(other, environ)
    assert other.config["SECRET_KEY_FALLBACKS"] == ["its own"]


def test_before_flask_3_1_nothing_is_set(environ: dict[str, str]) -> None:
    app = app_with(NEW)
    del app.config["SECRET_KEY_FALLBACKS"]
    accept_rotated_keys(app, environ)
    assert "SECRET_KEY_FALLBACKS" not in app.config


def test_a_file_that_cannot_be_read_is_named(environ: dict[str, str]) -> None:
    environ["MAYDAY_SECRET_KEY_FALLBACKS_FILE"] = "/nowhere/keys"
    with pytest.raises(ConfigurationError, match="/nowhere/keys"):
        accept_rotated_keys(app_with(NEW), environ)
