"""The settings: what is taken, what is refused, and how the refusal reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_mayday.settings import ConfigurationError, Settings, read_settings

KEY = "k" * 40
PASSWORD = "a-password-of-more-than-32-characters"


def read(**overrides: object) -> Settings:
    return read_settings({"SECRET_KEY": KEY, **overrides})


def problems(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read(**overrides)
    return caught.value.problems


def test_the_defaults_are_those_of_the_tutorial() -> None:
    settings = read()
    assert (settings.log_max_bytes, settings.log_backup_count) == (10240, 10)
    assert settings.database_url.drivername == "sqlite"
    assert settings.mail_server is None
    assert not settings.drill
    assert not settings.debug


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("MAIL_PORT", "0", "from 1 to 65535"),
        ("MAIL_PORT", "smtp", "a whole number"),
        ("MAIL_PORT", "25.0", "a whole number"),
        ("MAIL_PORT", "٢٥", "a whole number"),
        ("MAIL_TIMEOUT", "-1", "a whole number"),
        ("MAIL_USE_TLS", "maybe", "use 1, true, yes or on"),
        ("MAIL_USE_SSL", "2", "use 1, true, yes or on"),
        ("MAIL_FROM", "nobody", "one address"),
        ("MAIL_FROM", "::1@@example.com", "one address"),
        ("ADMINS", "admin at example.com", "mail addresses"),
        ("ADMINS", "jürgen@example.com", "mail addresses"),
        ("ADMINS", "a..b@example.com", "mail addresses"),
        ("LOG_MAX_BYTES", "10K", "a whole number"),
        ("LOG_BACKUP_COUNT", "0", "a whole number"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("LOG_SLOW_MS", "0", "a whole number"),
        ("SPOOL_MAX_BYTES", "1", "a whole number"),
        ("REPORT_WINDOW", "0", "a whole number"),
        ("REPORT_MAILS_PER_HOUR", "0", "a whole number"),
        ("REPORT_KEEP_DAYS", "forever", "a whole number"),
        ("REQUEST_TIMEOUT", "1e3", "a whole number"),
        ("FLASK_DEBUG", "ture", "use 1, true, yes or on"),
        ("DRILL", "-", "use 1, true, yes or on"),
        ("TRUSTED_PROXIES", "11", "from 0 to 10"),
        ("WEB_CONCURRENCY", "0", "a whole number"),
        ("WEB_THREADS", "9999999999999999999999", "a whole number"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_the_value_and_the_mend(
    name: str, value: str, mend: str
) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} is {value!r}: ")
    assert mend in problem


def test_all_problems_are_told_at_once() -> None:
    found = problems(MAIL_PORT="x", LOG_LEVEL="y", WEB_THREADS="z", SECRET_KEY="short")
    assert len(found) == 4
    assert {text.split()[0] for text in found} == {
        "MAIL_PORT",
        "LOG_LEVEL",
        "WEB_THREADS",
        "SECRET_KEY",
    }


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON", " on "])
def test_words_for_on_are_taken(text: str) -> None:
    assert read(DRILL=text).drill


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF", ""])
def test_words_for_off_are_taken(text: str) -> None:
    assert not read(DRILL=text).drill


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PORT", "2525")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    settings = read(MAIL_PORT=587)
    assert (settings.mail_port, settings.log_level) == (587, "DEBUG")


def test_an_override_of_none_unsets_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAIL_PORT", "2525")
    assert read(MAIL_PORT=None).mail_port == 25


def test_an_override_wins_over_the_file_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "is-not-there"))
    assert read().secret_key == KEY


# Secrets


def test_a_missing_secret_key_is_refused_with_the_command_that_makes_one() -> None:
    (problem,) = problems(SECRET_KEY=None)
    assert problem.startswith("SECRET_KEY is not set")
    assert "secrets.token_hex(32)" in problem


def test_a_secret_is_read_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    assert read(SECRET_KEY_FILE=tmp_path / "key").secret_key == KEY


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="SECRET_KEY and SECRET_KEY_FILE are both set"):
        read_settings()


def test_an_empty_variable_beside_its_file_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("SECRET_KEY", "")  # as compose passes what .env leaves out
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert read_settings().secret_key == KEY


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (problem,) = problems(SECRET_KEY=None, SECRET_KEY_FILE=tmp_path / "missing")
    assert problem.startswith(f"SECRET_KEY_FILE is '{tmp_path}/missing'")
    assert "No such file" in problem


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff" * 40)
    (problem,) = problems(SECRET_KEY_FILE=tmp_path / "key")
    assert "not UTF-8" in problem


def test_no_message_shows_a_secret(tmp_path: Path) -> None:
    secrets = {
        "SECRET_KEY": "short-but-secret",
        "POSTGRES_PASSWORD": "also-short-secret",
        "DATABASE_URL": "postgresql://user:url-secret@host:port-secret/name",
        "MAIL_PASSWORD": "mail-secret",
    }
    text = str(ConfigurationError(problems(**secrets, MAIL_USERNAME="me", MAIL_PORT="x")))
    for secret in (*secrets.values(), "url-secret", "port-secret"):
        assert secret not in text


def test_the_settings_know_the_values_that_must_not_leave() -> None:
    settings = read(
        DATABASE_URL="postgresql://web@db/microblog",
        POSTGRES_PASSWORD=PASSWORD,
        MAIL_PASSWORD="smtp-password",
    )
    assert set(settings.secret_values) == {KEY, PASSWORD, "smtp-password"}


def test_a_password_in_the_query_of_the_url_is_a_secret_too() -> None:
    settings = read(DATABASE_URL=f"postgresql://web@db/microblog?password={PASSWORD}")
    assert PASSWORD in settings.secret_values


# The database


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_name_of_postgresql_means_psycopg2(scheme: str) -> None:
    url = read(DATABASE_URL=f"{scheme}://web@db:5433/microblog").database_url
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.host, url.port, url.database) == ("web", "db", 5433, "microblog")


def test_the_password_of_the_database_comes_from_its_own_setting() -> None:
    settings = read(DATABASE_URL="postgresql://web@db/microblog", POSTGRES_PASSWORD=PASSWORD)
    assert settings.database_url.password == PASSWORD


def test_a_password_in_the_url_and_beside_it_is_refused() -> None:
    (problem,) = problems(
        DATABASE_URL="postgresql://web:another@db/microblog", POSTGRES_PASSWORD=PASSWORD
    )
    assert "keep one of them" in problem


def test_a_short_password_of_the_database_is_refused() -> None:
    (problem,) = problems(DATABASE_URL="postgresql://web@db/microblog", POSTGRES_PASSWORD="short")
    assert problem.startswith("POSTGRES_PASSWORD has 5 characters")


def test_sqlite_takes_no_password() -> None:
    settings = read(DATABASE_URL="sqlite:////tmp/x.db", POSTGRES_PASSWORD=PASSWORD)
    assert str(settings.database_url) == "sqlite:////tmp/x.db"


@pytest.mark.parametrize("url", ["not a url", "postgresql://host:port/name"])
def test_a_url_that_cannot_be_read_is_refused_with_an_example(url: str) -> None:
    (problem,) = problems(DATABASE_URL=url)
    assert problem.startswith("DATABASE_URL cannot be read: write postgresql://user@host:5432/name")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+asyncpg", "sqlite+pysqlcipher"])
def test_another_database_is_refused(scheme: str) -> None:
    (problem,) = problems(DATABASE_URL=f"{scheme}://user@host/name")
    assert problem.startswith(f"DATABASE_URL is '{scheme}://…'")


# Mail


def test_mail_without_administrators_is_refused() -> None:
    (problem,) = problems(MAIL_SERVER="mail.example.com")
    assert problem.startswith("ADMINS is not set")


def test_administrators_are_separated_by_commas() -> None:
    settings = read(MAIL_SERVER="mail.example.com", ADMINS="a@example.com, b@example.com,")
    assert settings.admins == ("a@example.com", "b@example.com")
    assert settings.mail_from == "no-reply@mail.example.com"


def test_a_mail_server_whose_name_makes_no_address_needs_a_sender() -> None:
    (problem,) = problems(MAIL_SERVER="::1", ADMINS="a@example.com")
    assert problem.startswith("MAIL_FROM is 'no-reply@::1'")


def test_both_kinds_of_tls_at_once_are_refused() -> None:
    (problem,) = problems(MAIL_USE_TLS="1", MAIL_USE_SSL="1")
    assert "both on" in problem


def test_a_mail_user_without_a_password_is_refused() -> None:
    (problem,) = problems(MAIL_USERNAME="me")
    assert problem.startswith("MAIL_PASSWORD is not set")


# The drill


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::", "example.com", "127.0.0.1.evil"])
def test_the_drill_is_refused_where_others_can_reach_it(bind: str) -> None:
    (problem,) = problems(DRILL="1", HTTP_BIND=bind)
    assert problem.startswith("DRILL is '1'")
    assert "set DRILL=0, or HTTP_BIND=127.0.0.1" in problem


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", ""])
def test_the_drill_is_allowed_on_the_loopback(bind: str) -> None:
    assert read(DRILL="1", HTTP_BIND=bind).drill


def test_the_site_may_be_public_without_the_drill() -> None:
    assert read(DRILL="0", HTTP_BIND="0.0.0.0").http_bind == "0.0.0.0"
