"""Encryption and log-in, with real servers and certificates, also those not to be trusted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.mail.conftest import LOGIN, Server

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("kind", ["plain", "starttls", "tls"])
def test_a_mail_is_delivered(
    make_server: Callable[..., Server], make_rounds: Callable[..., Any], kind: str, login: bool
) -> None:
    server = make_server(kind, login=login)
    rounds = make_rounds(**server.settings, **(LOGIN if login else {}))
    rounds.fail("one")
    rounds.after(0)
    assert rounds.column("error") == [None]
    assert rounds.column("state") == ["delivered"]
    assert server.mails == [(b"blog" if login else None, kind != "plain")]


@pytest.mark.parametrize("kind", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("certificate", "ca", "reason"),
    [
        ("good", None, "unable to get local issuer certificate"),
        ("elsewhere", "ca.pem", "IP address mismatch"),
        ("expired", "ca.pem", "certificate has expired"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_makes_the_mail_wait(
    make_server: Callable[..., Server],
    make_rounds: Callable[..., Any],
    authority: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    certificate: str,
    ca: str | None,
    reason: str,
) -> None:
    if ca:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / ca))
    server = make_server(kind, certificate, login=True)
    rounds = make_rounds(**server.settings, **LOGIN)
    rounds.fail("one")
    rounds.after(0)
    assert rounds.column("state") == ["waiting"]
    for text in (rounds.column("error")[0], caplog.text):
        assert "cannot be trusted" in text
        assert reason in text
    assert server.passwords == []
    assert server.mails == []


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", ["plain", "starttls", "tls"])
def test_a_wrong_password_is_about_the_settings_and_fails_no_mail(
    make_server: Callable[..., Server],
    make_rounds: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    server = make_server(kind, login=True)
    rounds = make_rounds(**server.settings, MAIL_USERNAME="blog", MAIL_PASSWORD="not-that-one")
    rounds.fail("one")
    rounds.fail("two")
    rounds.after(0)
    assert rounds.column("state") == ["waiting"] * 2
    assert len(set(rounds.waits())) == 1
    assert "refuses the log-in: check MAIL_USERNAME and MAIL_PASSWORD" in caplog.text
    assert "It says: 535" in caplog.text
    mended = make_rounds(**server.settings, **LOGIN)
    mended.after(300)
    assert mended.column("state") == ["delivered"] * 2


def test_without_starttls_nothing_is_sent_in_the_clear(
    make_rounds: Callable[..., Any], scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = make_rounds(**scripted_server.settings, **LOGIN, MAIL_USE_TLS=True)
    rounds.fail("one")
    rounds.after(0)
    assert rounds.column("state") == ["waiting"]
    assert "does not offer STARTTLS, and nothing is sent in the clear" in caplog.text
    assert [line.upper()[:4] for line in scripted_server.heard] == [b"EHLO"]


STARTTLS = b"250-mail.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"


@pytest.mark.parametrize("answer", [b"454 not now\r\n", b"501 no\r\n", b"what?\r\n", b"250 ok\r\n"])
def test_a_server_that_offers_starttls_and_then_refuses_gets_nothing(
    make_rounds: Callable[..., Any], scripted_server: Any, answer: bytes
) -> None:
    scripted_server.script = {"EHLO": STARTTLS, "STARTTLS": answer}
    rounds = make_rounds(**scripted_server.settings, **LOGIN, MAIL_USE_TLS=True)
    rounds.fail("one")
    rounds.after(0)
    assert rounds.column("state") == ["waiting"]
    verbs = [line.upper().split()[0] for line in scripted_server.heard]
    assert verbs == [b"EHLO", b"STARTTLS"]


@pytest.mark.usefixtures("trusted")
def test_what_was_put_in_before_the_encryption_is_not_believed(
    make_rounds: Callable[..., Any], scripted_server: Any, authority: Any
) -> None:
    """Somebody on the way adds answers of his own to the last one that is not encrypted."""
    scripted_server.tls = authority.context("good")
    scripted_server.script = {
        "EHLO": STARTTLS,
        "STARTTLS": b"220 go on\r\n250-forged\r\n250 AUTH LOGIN\r\n",
    }
    rounds = make_rounds(**scripted_server.settings, MAIL_USE_TLS=True)
    rounds.fail("one")
    rounds.after(0)
    assert rounds.column("state") == ["delivered"]


@pytest.mark.parametrize("setting", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_a_server_that_drips_its_handshake_does_not_hold_the_courier(
    make_rounds: Callable[..., Any], scripted_server: Any, setting: str
) -> None:
    def drip(connection: socket.socket, *about: Any) -> bytes:
        if setting == "MAIL_USE_TLS" and about:
            connection.sendall(b"220 go on\r\n")
        connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB follows
        for _ in range(100):
            connection.sendall(b"\x02")
            time.sleep(0.1)
        raise ValueError("nobody has hung up")

    step = "STARTTLS" if setting == "MAIL_USE_TLS" else "greeting"
    scripted_server.script = {"EHLO": STARTTLS, step: drip}
    rounds = make_rounds(**scripted_server.settings, MAIL_TIMEOUT=1, **{setting: True})
    rounds.fail("one")
    started = time.monotonic()
    rounds.after(0)
    assert time.monotonic() - started < 3
    assert rounds.column("state") == ["waiting"]
    assert "has not answered within 1 s" in rounds.column("error")[0]
