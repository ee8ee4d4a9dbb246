"""What an app in the stack finds in its environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Load = Callable[..., dict[str, str]]


@pytest.fixture
def load_environment(load: Callable[[str], Any], tmp_path: Path) -> Load:
    """Return a function that gives the environment after the load, from one before it."""
    module = load("docker/your-app/environment.py")
    (tmp_path / "secret_key").write_text("k" * 64 + "\n")
    (tmp_path / "app_password").write_text("p/w")

    def run(**before: str) -> dict[str, str]:
        environ = dict(before)
        module.load(environ, tmp_path)
        return environ

    return run


def test_the_secret_key_and_the_database_with_its_password_are_set(load_environment: Load) -> None:
    environ = load_environment()
    assert environ["SECRET_KEY"] == "k" * 64
    assert environ["DATABASE_URL"].endswith("://app:p%2Fw@db/microblog")
    assert "DATABASE_PASSWORD" not in environ


def test_an_app_with_migrations_gets_the_login_that_only_reads_and_writes_rows(
    load_environment: Load, tmp_path: Path
) -> None:
    (tmp_path / "app_password").unlink()
    (tmp_path / "web_password").write_text("rows")
    (tmp_path / ".web_login").write_text("app_web_2\n")
    assert load_environment()["DATABASE_URL"].endswith("://app_web_2:rows@db/microblog")


def test_without_a_database_no_url_is_set(load_environment: Load) -> None:
    assert "DATABASE_URL" not in load_environment(STACK_DATABASE="none")


def test_set_variables_override_app_env_which_overrides_the_stack(
    load_environment: Load, tmp_path: Path
) -> None:
    (tmp_path / "app.env").write_text("SECRET_KEY=mine\nexport\tDEBUG = 'on' \n# A=b\n")
    environ = load_environment(DEBUG="off")
    assert environ["SECRET_KEY"] == "mine"
    assert environ["DEBUG"] == "off"
    assert "A" not in environ
    assert load_environment()["DEBUG"] == "on"


def test_the_url_and_the_password_can_be_used_in_app_env(
    load_environment: Load, tmp_path: Path
) -> None:
    (tmp_path / "app.env").write_text(
        'URI="${DATABASE_URL}?sslmode=disable"\nPGPASSWORD=${DATABASE_PASSWORD}\nOTHER=$HOME\n'
    )
    environ = load_environment()
    assert environ["URI"] == environ["DATABASE_URL"] + "?sslmode=disable"
    assert environ["PGPASSWORD"] == "p/w"
    assert environ["OTHER"] == "$HOME"


def test_empty_and_false_mail_settings_stay_unset(load_environment: Load) -> None:
    environ = load_environment(
        MAYDAY_MAIL_SERVER="mailhog", MAYDAY_MAIL_PORT="1025", MAYDAY_MAIL_USE_TLS="0"
    )
    assert (environ["MAIL_SERVER"], environ["MAIL_PORT"]) == ("mailhog", "1025")
    assert not {"MAIL_USE_TLS", "MAIL_USE_SSL", "MAIL_USERNAME", "MAIL_PASSWORD"} & set(environ)
    assert "MAIL_PORT" not in load_environment(MAYDAY_MAIL_PORT="1025")


def test_a_child_process_inherits_and_does_not_load_again(load_environment: Load) -> None:
    parent = load_environment()
    del parent["SECRET_KEY"]
    assert "SECRET_KEY" not in load_environment(**parent)


def test_flask_debug_is_off_for_every_word_that_means_off(load_environment: Load) -> None:
    for word in ("0", "false", "No ", "OFF"):
        assert load_environment(FLASK_DEBUG=word)["FLASK_DEBUG"] == "0"
    assert load_environment(FLASK_DEBUG=" True")["FLASK_DEBUG"] == "1"
    assert "FLASK_DEBUG" not in load_environment()
