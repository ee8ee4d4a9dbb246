"""Which values of an app's configuration and environment are secrets."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from flask_mayday.redaction.config import secrets_of_config


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "WTF_CSRF_SECRET_KEY",
        "JWT_SECRET_KEY",
        "MAIL_PASSWORD",
        "DB_PASS",
        "GITHUB_TOKEN",
        "STRIPE_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "OAUTH_CLIENT_SECRET",
        "SECURITY_PASSWORD_SALT",
        "SENTRY_DSN",
        "FERNET_KEY",
        "GOOGLE_CREDENTIALS",
    ],
)
def test_a_value_under_a_secret_name_is_a_secret(name: str) -> None:
    assert secrets_of_config({name: "correct horse"}, {}) == ("correct horse",)
    assert secrets_of_config({}, {name: "correct horse"}) == ("correct horse",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_COOKIE_NAME", "session_cookie"),
        ("WTF_CSRF_FIELD_NAME", "csrf_token"),
        ("WTF_CSRF_HEADERS", ["X-CSRFToken", "X-CSRF-Token"]),
        ("JWT_TOKEN_LOCATION", ["headers", "cookies_and_json"]),
        ("JWT_ACCESS_COOKIE_NAME", "access_token_cookie"),
        ("JWT_ERROR_MESSAGE_KEY", "error_message"),
        ("JWT_PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_0123456789abcdef"),
        ("SECURITY_TOKEN_AUTHENTICATION_KEY", "auth_token"),
        ("CACHE_KEY_PREFIX", "microblog_cache"),
        ("REMEMBER_COOKIE_DURATION", "31536000 seconds"),
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/postgres-password"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/keys/service-account.json"),
        ("PWD", "/home/susan/projects"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-abcdef/agent.1"),
        ("SERVER_NAME", "blog.example.org"),
        ("SECRET_KEY", "dev"),
        ("SECRET_KEY", None),
        ("MAIL_PASSWORD", 12345678),
        ("HOME_URL", "https://blog.example.org/page?token_type=bearer"),
    ],
)
def test_the_name_of_an_option_is_no_secret(name: str, value: object) -> None:
    assert secrets_of_config({name: value}, {}) == ()


def test_the_keys_before_the_last_rotation_are_secrets() -> None:
    config = {"SECRET_KEY_FALLBACKS": ["the former key", b"the key before"]}
    assert secrets_of_config(config, {}) == ("the former key", "the key before")


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("postgresql://web:hunter2-hunter2@db/app", {"hunter2-hunter2"}),
        ("postgresql://web:hunter%402-hunter2@db/app", {"hunter%402-hunter2", "hunter@2-hunter2"}),
        ("postgresql://web:hunter/2@hunter2@db/app", {"hunter/2@hunter2", "hunter/2"}),
        ("https://u:hunter2-hunter2@host/@scope", {"hunter2-hunter2", "hunter2-hunter2@host/"}),
        ("https://u@d:hunter2-hunter2@h/@", {"hunter2-hunter2", "hunter2-hunter2@h/"}),
        ("smtp://u:hunter2,hunter2@host", {"hunter2,hunter2"}),
        ("redis://:hunter2-hunter2@cache/0", {"hunter2-hunter2"}),
        ("postgresql://web@db/app?password=hunter2-hunter2", {"hunter2-hunter2"}),
        ("postgresql://web@db/app", set()),
        ("http://[broken", set()),
    ],
)
def test_the_password_in_any_url_is_a_secret(url: str, secrets: set[str]) -> None:
    assert set(secrets_of_config({"ANY_URL": url}, {})) == secrets
    assert set(secrets_of_config({}, {"ANY_URL": url})) == secrets


@pytest.mark.parametrize("separator", [",", ";", " "])
def test_the_passwords_of_each_url_in_a_list_are_secrets(separator: str) -> None:
    urls = separator.join(f"sentinel://:hunter{number}-hunter{number}@h" for number in range(3))
    found = secrets_of_config({"BROKERS": urls}, {})
    assert {f"hunter{number}-hunter{number}" for number in range(3)} <= set(found)


def test_the_password_of_an_sqlalchemy_url_is_a_secret() -> None:
    url = make_url("postgresql://web:hunter2-hunter2@db/app?sslpassword=hunter3-hunter3")
    config = {"SQLALCHEMY_DATABASE_URI": url}
    assert secrets_of_config(config, {}) == ("hunter2-hunter2", "hunter3-hunter3")


def test_nested_values_are_looked_at() -> None:
    config = {
        "SQLALCHEMY_ENGINE_OPTIONS": {"connect_args": {"password": "hunter2-hunter2"}},
        "SQLALCHEMY_BINDS": {"other": "mysql://root:hunter3-hunter3@db"},
        "CELERY": {"broker_url": "amqp://guest:hunter4-hunter4@mq"},
    }
    assert set(secrets_of_config(config, {})) == {
        "hunter2-hunter2",
        "hunter3-hunter3",
        "hunter4-hunter4",
    }


def test_a_configuration_that_contains_itself_ends() -> None:
    config: dict[str, object] = {"MAIL_PASSWORD": "correct horse"}
    config["SELF"] = config
    assert secrets_of_config(config, {}) == ("correct horse",)
