"""The demo's own settings: its secret key and its database."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from app import config
from flask_mayday.settings import ConfigurationError

KEY = "k" * 40
PASSWORD = "a-password-of-more-than-32-characters"


def read(**overrides: object) -> Flask:
    app = Flask("app")
    problems = config.configure(app, {"SECRET_KEY": KEY, **overrides})
    if problems:
        raise ConfigurationError(problems)
    return app


def problems(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read(**overrides)
    return caught.value.problems


def test_an_override_wins_over_a_secret_file_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "is-not-there"))
    assert read().config["SECRET_KEY"] == KEY


def test_an_override_wins_over_the_defaults_of_flask_and_of_the_app() -> None:
    overrides = {"TESTING": True, "SERVER_NAME": "blog.example", "MAX_CONTENT_LENGTH": 7}
    config = read(**overrides).config
    assert {name: config[name] for name in overrides} == overrides


def test_a_missing_secret_key_is_refused_with_the_command_that_creates_one() -> None:
    (problem,) = problems(SECRET_KEY=None)
    assert problem.startswith("SECRET_KEY is not set")
    assert "secrets.token_hex(32)" in problem


def test_a_secret_key_of_white_space_is_refused_with_its_value_and_the_fix() -> None:
    (problem,) = problems(SECRET_KEY=" " * 40)
    assert problem.startswith(f"SECRET_KEY is '{' ' * 40}'")
    assert "set it to a random text of at least 32 characters" in problem


def test_a_secret_is_read_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    assert read(SECRET_KEY=None, SECRET_KEY_FILE=tmp_path / "key").config["SECRET_KEY"] == KEY


def test_a_secret_that_is_set_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="SECRET_KEY and SECRET_KEY_FILE are both set"):
        read(SECRET_KEY=None)


def test_an_empty_variable_counts_as_unset_if_its_file_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("SECRET_KEY", "")  # as compose passes a variable that .env does not set
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert read(SECRET_KEY=None).config["SECRET_KEY"] == KEY


def test_the_message_names_a_secret_file_that_cannot_be_read(tmp_path: Path) -> None:
    (problem,) = problems(SECRET_KEY=None, SECRET_KEY_FILE=tmp_path / "missing")
    assert problem.startswith(f"SECRET_KEY_FILE is '{tmp_path}/missing'")
    assert "No such file" in problem


def test_a_secret_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff" * 40)
    (problem,) = problems(SECRET_KEY=None, SECRET_KEY_FILE=tmp_path / "key")
    assert "not UTF-8" in problem


def test_error_messages_do_not_contain_secrets(tmp_path: Path) -> None:
    secrets = {
        "SECRET_KEY": "short-but-secret",
        "POSTGRES_PASSWORD": "also-short-secret",
        "DATABASE_URL": "postgresql://user:url-secret@host:port-secret/name",
    }
    text = str(ConfigurationError(problems(**secrets)))
    for secret in (*secrets.values(), "url-secret", "port-secret"):
        assert secret not in text


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_scheme_for_postgresql_selects_psycopg2(scheme: str) -> None:
    url = read(DATABASE_URL=f"{scheme}://web@db:5433/microblog").config["SQLALCHEMY_DATABASE_URI"]
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.host, url.port, url.database) == ("web", "db", 5433, "microblog")


def test_the_database_password_is_taken_from_its_own_setting() -> None:
    app = read(DATABASE_URL="postgresql://web@db/microblog", POSTGRES_PASSWORD=PASSWORD)
    assert app.config["SQLALCHEMY_DATABASE_URI"].password == PASSWORD


def test_a_password_both_in_the_url_and_in_its_own_setting_is_refused() -> None:
    (problem,) = problems(
        DATABASE_URL="postgresql://web:another@db/microblog", POSTGRES_PASSWORD=PASSWORD
    )
    assert "keep one of them" in problem


def test_a_short_database_password_is_refused() -> None:
    (problem,) = problems(DATABASE_URL="postgresql://web@db/microblog", POSTGRES_PASSWORD="short")
    assert problem.startswith("POSTGRES_PASSWORD has 5 characters")


def test_the_database_password_is_ignored_for_sqlite() -> None:
    app = read(DATABASE_URL="sqlite:////tmp/x.db", POSTGRES_PASSWORD=PASSWORD)
    assert str(app.config["SQLALCHEMY_DATABASE_URI"]) == "sqlite:////tmp/x.db"


@pytest.mark.parametrize("url", ["not a url", "postgresql://host:port/name"])
def test_a_url_that_cannot_be_parsed_is_refused_with_an_example(url: str) -> None:
    (problem,) = problems(DATABASE_URL=url)
    assert problem.startswith(
        "DATABASE_URL cannot be parsed: write postgresql://user@host:5432/name"
    )


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+asyncpg", "sqlite+pysqlcipher"])
def test_an_unsupported_database_is_refused(scheme: str) -> None:
    (problem,) = problems(DATABASE_URL=f"{scheme}://user@host/name")
    assert problem.startswith(f"DATABASE_URL is '{scheme}://…'")


@pytest.mark.parametrize("port", [0, 65536, 99999999])
def test_a_database_url_needs_a_port_that_exists(port: int) -> None:
    (problem,) = problems(DATABASE_URL=f"postgresql://web:secret@db:{port}/microblog")
    assert problem == f"DATABASE_URL is '…:{port}/…': use a port from 1 to 65535."


def test_the_login_and_earlier_keys_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("microblog_web_2\n")
    (tmp_path / "keys").write_text(f"{'a' * 40}\n{'b' * 40}\n")
    app = read(
        DATABASE_URL="postgresql://microblog_web@db/microblog",
        POSTGRES_PASSWORD=PASSWORD,
        POSTGRES_USER_FILE=tmp_path / "user",
        SECRET_KEY_FALLBACKS_FILE=tmp_path / "keys",
    )
    assert app.config["SQLALCHEMY_DATABASE_URI"].username == "microblog_web_2"
    assert app.config["SECRET_KEY_FALLBACKS"] == ["a" * 40, "b" * 40]
    (tmp_path / "keys").write_text(f"{'a' * 40}\n\n \n{'b' * 40}\n")  # nobody may sign with ""
    app = read(SECRET_KEY_FALLBACKS_FILE=tmp_path / "keys")
    assert app.config["SECRET_KEY_FALLBACKS"] == ["a" * 40, "b" * 40]
    assert read(SECRET_KEY_FALLBACKS=["c"]).config["SECRET_KEY_FALLBACKS"] == ["c"]
