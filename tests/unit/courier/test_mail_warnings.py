"""Mail settings that are valid and yet warned about at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_mayday.courier.mail_warnings import mail_warnings
from flask_mayday.settings import ConfigurationError, read_settings

LOGIN = {"MAIL_USERNAME": "blog", "MAIL_PASSWORD": "correct-horse"}


def warnings(**settings: object) -> list[str]:
    given = {"MAIL_SERVER": "mail.example.com", "ADMINS": "admin@example.com", **settings}
    return mail_warnings(read_settings(given, environ={}, instance_path=Path("/nowhere")).mail)


@pytest.mark.parametrize("server", ["localhost", "127.0.0.1", "::1", "mailhog"])
def test_a_password_sent_unencrypted_within_the_machine_is_not_warned_about(server: str) -> None:
    sender = {"MAIL_FROM": "no-reply@example.com"}
    assert warnings(MAIL_SERVER=server, **sender, **LOGIN) == []


@pytest.mark.parametrize("server", ["mail.example.com", "192.0.2.1"])
def test_a_password_sent_unencrypted_to_another_machine_is_warned_about(server: str) -> None:
    (warning,) = warnings(MAIL_SERVER=server, MAIL_PORT=587, **LOGIN)
    assert f"the password is sent to {server} unencrypted. Set MAIL_USE_TLS=1" in warning


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"MAIL_SERVER": ""},
        {**LOGIN, "MAIL_USE_TLS": True, "MAIL_PORT": 587},
        {**LOGIN, "MAIL_USE_SSL": True, "MAIL_PORT": 465},
    ],
)
def test_usual_settings_are_not_warned_about(settings: dict[str, object]) -> None:
    assert warnings(**settings) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"MAIL_PASSWORD": "correct-horse"}, "does not log in"),
        ({"MAIL_PORT": 465}, "set MAIL_USE_SSL=1"),
        ({"MAIL_PORT": 465, "MAIL_USE_TLS": True}, "set MAIL_USE_SSL=1"),
        ({"MAIL_PORT": 587, "MAIL_USE_SSL": True}, "set MAIL_USE_TLS=1"),
    ],
)
def test_settings_that_do_not_fit_together_are_warned_about(
    settings: dict[str, object], words: str
) -> None:
    (warning,) = warnings(**settings)
    assert words in warning


@pytest.mark.parametrize(
    "server", ["mail.example.com:587", "smtp://mail.example.com", "a..b", "me@mail.example.com"]
)
def test_a_mail_server_that_is_not_a_host_stops_the_start(server: str) -> None:
    with pytest.raises(ConfigurationError, match="the port goes in MAIL_PORT"):
        warnings(MAIL_SERVER=server, MAIL_FROM="no-reply@example.com")


def test_a_password_with_a_nul_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="MAIL_PASSWORD contains a NUL"):
        warnings(MAIL_USERNAME="blog", MAIL_PASSWORD="a\0b")


@pytest.mark.parametrize(
    "name", ["b\u00e4d.example.com", "two words", "-a.example.com", "a..com\n"]
)
def test_a_greeting_that_no_server_accepts_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigurationError, match="MAIL_HELO_NAME"):
        warnings(MAYDAY_MAIL_HELO_NAME=name.strip("\n") + ("" if name.isprintable() else "\tx"))
