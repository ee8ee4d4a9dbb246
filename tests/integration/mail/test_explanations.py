"""`flask mayday reports test` explains why a mail server failed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from tests.integration.mail.conftest import LOGIN, Server


@pytest.fixture
def send_test(make_app: Callable[..., Flask]) -> Callable[..., Result]:
    """Return a function that runs the command with the given settings."""

    def run(**settings: object) -> Result:
        app = make_app(**{"MAIL_TIMEOUT": 20, **settings})
        return app.test_cli_runner().invoke(args=["reports", "test"])

    return run


def test_a_sent_mail_is_confirmed(send_test: Callable[..., Result], scripted_server: Any) -> None:
    result = send_test(**scripted_server.settings)
    assert result.exit_code == 0
    assert "Sent to first@microblog.example, second@microblog.example" in result.output
    ((_, content),) = scripted_server.mails
    assert b"Subject: [Microblog] Test mail: error reports are reaching you" in content


def test_the_test_mail_has_a_date_and_crlf_line_ends(
    send_test: Callable[..., Result], scripted_server: Any
) -> None:
    send_test(**scripted_server.settings)
    ((_, content),) = scripted_server.mails
    assert content.count(b"\r\n") == content.count(b"\n")
    date = message_from_bytes(content, policy=default)["Date"].datetime
    assert abs(datetime.now(UTC) - date) < timedelta(minutes=1)


def hang_up(connection: socket.socket, *about: Any) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def refuse_second(connection: socket.socket, address: str) -> bytes:
    return b"550 unknown\r\n" if address.startswith("second") else b""


def say_nothing(connection: socket.socket, *about: Any) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("script", "also", "words"),
    [
        ({}, {"MAIL_USE_TLS": True}, "does not offer STARTTLS, and nothing is sent unencrypted"),
        ({}, {"MAIL_USE_SSL": True}, "does not speak TLS from the first byte"),
        (
            {"EHLO": b"250 mail.example\r\n"},
            LOGIN,
            "offers no login, or only after encryption: set MAIL_USE_TLS=1",
        ),
        (
            {"EHLO": b"250-a\r\n250 AUTH EXOTIC\r\n"},
            LOGIN,
            "offers only login methods that Flask Mayday does not support (EXOTIC)",
        ),
        (
            {"AUTH": b"535 no\r\n"},
            LOGIN,
            "refused the login: check MAIL_USERNAME and MAIL_PASSWORD. The server replied: 535 no",
        ),
        ({"MAIL": b"530 log in\r\n"}, {}, "requires a login or encryption first: set MAIL_USERN"),
        (
            {"MAIL": b"550 not you\r\n"},
            {},
            "refused the sender no-reply@microblog.example: check MAIL_FROM. The server replied: ",
        ),
        (
            {"RCPT": b"550 unknown\r\n"},
            {},
            "refused recipients: check ADMINS. The server replied: first@",
        ),
        (
            {"RCPT": refuse_second},
            {},
            "check ADMINS. The server replied: second@microblog.example: 550",
        ),
        ({"RCPT": b"450 later\r\n"}, {}, "second@microblog.example: 450 later"),
        (
            {"content": b"554 spam\r\n"},
            {},
            "refused the mail for its content. The server replied: 554",
        ),
        ({"greeting": b"554 go away\r\n"}, {}, "accepts no connection from this machine"),
        ({"greeting": hang_up}, {}, "closed the connection: check MAIL_PORT"),
        (
            {"greeting": say_nothing},
            {"MAIL_TIMEOUT": 1},
            "did not answer within 1 s: check MAIL_SERVER",
        ),
        (
            {"greeting": b"HTTP/1.1 400 Bad Request\r\n"},
            {},
            "does not speak SMTP: check MAIL_SERVER and MAIL_PORT",
        ),
    ],
)
def test_a_refusal_is_explained(
    send_test: Callable[..., Result],
    scripted_server: Any,
    script: dict[str, Any],
    also: dict[str, object],
    words: str,
) -> None:
    scripted_server.script = script
    result = send_test(**scripted_server.settings, **also)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert words in result.output


@pytest.mark.parametrize(
    ("also", "words"),
    [
        ({"MAIL_PORT": 1}, "Nothing listens at 127.0.0.1:1: check MAIL_PORT"),
        ({"MAIL_SERVER": "no-such-machine.invalid"}, "Host no-such-machine.invalid not found"),
    ],
)
def test_an_error_in_the_settings_is_explained(
    send_test: Callable[..., Result],
    scripted_server: Any,
    also: dict[str, object],
    words: str,
) -> None:
    result = send_test(**scripted_server.settings | also)
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize(
    ("kind", "certificate", "words"),
    [
        ("starttls", "elsewhere", "cannot be trusted: IP address mismatch"),
        ("tls", "expired", "cannot be trusted: certificate has expired"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_an_untrusted_certificate_is_explained(
    send_test: Callable[..., Result],
    make_server: Callable[..., Server],
    kind: str,
    certificate: str,
    words: str,
) -> None:
    server = make_server(kind, certificate)
    result = send_test(**{**server.settings, "MAIL_TIMEOUT": 20})
    assert result.exit_code == 1
    assert words in result.output


def test_a_server_that_expects_implicit_tls_is_explained(
    send_test: Callable[..., Result], make_server: Callable[..., Server]
) -> None:
    server = make_server("tls")
    result = send_test(**{**server.settings, "MAIL_USE_SSL": False, "MAIL_TIMEOUT": 2})
    assert result.exit_code == 1
    assert "set MAIL_USE_SSL=1 if it waits for TLS (port 465)" in result.output
