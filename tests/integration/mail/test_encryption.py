"""Encryption and login with real servers, also with untrusted certificates."""

from __future__ import annotations

import base64
import hmac
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.settings import ConfigurationError, read_settings
from tests.integration.mail.conftest import LOGIN, Server

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("kind", ["plain", "starttls", "tls"])
def test_a_mail_is_delivered(
    make_server: Callable[..., Server], make_courier: Callable[..., Any], kind: str, login: bool
) -> None:
    server = make_server(kind, login=login)
    courier = make_courier(**server.settings, **(LOGIN if login else {}))
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("error") == [None]
    assert courier.column("state") == ["delivered"]
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
def test_a_mail_waits_while_the_certificate_is_untrusted(
    make_server: Callable[..., Server],
    make_courier: Callable[..., Any],
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
    courier = make_courier(**server.settings, **LOGIN)
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"]
    for text in (courier.column("error")[0], caplog.text):
        assert "cannot be trusted" in text
        assert reason in text
    assert server.passwords == []
    assert server.mails == []


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", ["plain", "starttls", "tls"])
def test_a_wrong_password_is_a_settings_error_and_fails_no_mail(
    make_server: Callable[..., Server],
    make_courier: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    server = make_server(kind, login=True)
    courier = make_courier(**server.settings, MAIL_USERNAME="blog", MAIL_PASSWORD="not-that-one")
    courier.fail("one")
    courier.fail("two")
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"] * 2
    assert len(set(courier.waits())) == 1
    assert "refused the login: check MAIL_USERNAME and MAIL_PASSWORD" in caplog.text
    assert "The server replied: 535" in caplog.text
    fixed = make_courier(**server.settings, **LOGIN)
    fixed.deliver_after(300)
    assert fixed.column("state") == ["delivered"] * 2


def test_nothing_is_sent_unencrypted_when_starttls_is_missing(
    make_courier: Callable[..., Any], scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    courier = make_courier(**scripted_server.settings, **LOGIN, MAIL_USE_TLS=True)
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"]
    assert "does not offer STARTTLS, and nothing is sent unencrypted" in caplog.text
    assert [line.upper()[:4] for line in scripted_server.heard] == [b"EHLO"]


STARTTLS = b"250-mail.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"


@pytest.mark.parametrize("answer", [b"454 not now\r\n", b"501 no\r\n", b"what?\r\n", b"250 ok\r\n"])
def test_nothing_is_sent_when_an_offered_starttls_is_refused(
    make_courier: Callable[..., Any], scripted_server: Any, answer: bytes
) -> None:
    scripted_server.script = {"EHLO": STARTTLS, "STARTTLS": answer}
    courier = make_courier(**scripted_server.settings, **LOGIN, MAIL_USE_TLS=True)
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"]
    verbs = [line.upper().split()[0] for line in scripted_server.heard]
    assert verbs == [b"EHLO", b"STARTTLS"]


@pytest.mark.usefixtures("trusted")
def test_replies_injected_before_encryption_are_ignored(
    make_courier: Callable[..., Any], scripted_server: Any, authority: Any
) -> None:
    """An attacker appends replies to the last unencrypted one (STARTTLS injection)."""
    scripted_server.tls = authority.context("good")
    scripted_server.script = {
        "EHLO": STARTTLS,
        "STARTTLS": b"220 go on\r\n250-forged\r\n250 AUTH LOGIN\r\n",
    }
    courier = make_courier(**scripted_server.settings, MAIL_USE_TLS=True)
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"]


@pytest.mark.parametrize("setting", ["MAIL_USE_TLS", "MAIL_USE_SSL"])
def test_a_handshake_sent_in_drips_does_not_block_the_courier(
    make_courier: Callable[..., Any], scripted_server: Any, setting: str
) -> None:
    def drip(connection: socket.socket, *about: Any) -> bytes:
        if setting == "MAIL_USE_TLS" and about:
            connection.sendall(b"220 go on\r\n")
            connection.recv(1)  # the client's part of the handshake comes first
        connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB follows
        for _ in range(100):
            connection.sendall(b"\x02")
            time.sleep(0.1)
        raise ValueError("nobody has hung up")

    step = "STARTTLS" if setting == "MAIL_USE_TLS" else "greeting"
    scripted_server.script = {"EHLO": STARTTLS, step: drip}
    courier = make_courier(**scripted_server.settings, MAIL_TIMEOUT=1, **{setting: True})
    courier.fail("one")
    started = time.monotonic()
    courier.deliver_after(0)
    assert time.monotonic() - started < 20
    assert courier.column("state") == ["waiting"]
    assert "did not answer within 1 s" in courier.column("error")[0]


@pytest.mark.parametrize("kind", ["starttls", "tls"])
def test_a_certificate_of_the_ca_in_mail_ca_file_is_trusted(
    make_server: Callable[..., Server], make_courier: Callable[..., Any], authority: Any, kind: str
) -> None:
    server = make_server(kind)
    courier = make_courier(**server.settings, MAIL_CA_FILE=authority.folder / "ca.pem")
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("error") == [None]
    assert server.mails == [(None, True)]


def test_mail_ca_file_starts_at_the_instance_folder_and_may_be_empty(
    settings: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").touch()
    read = read_settings({**settings, "MAIL_CA_FILE": "ca.crt"}, instance_path=tmp_path)
    assert read.mail.ca_file is None


@pytest.mark.parametrize("content", [None, b"no certificate", b"\xff"])
def test_an_unusable_mail_ca_file_stops_the_start(
    settings: dict[str, object], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        read_settings({**settings, "MAYDAY_MAIL_CA_FILE": path})
    assert f"MAIL_CA_FILE is '{path}': name a readable file with CA certificates" in str(
        error.value
    )


NO_LOGIN = (b"ehlo", b"mail", b"rcpt", b"data", b"quit")
PASSWORD = "p\u00e4ss-\u20ac-word"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_non_ascii_password_is_sent_as_utf_8(
    make_courier: Callable[..., Any], scripted_server: Any, mechanism: str
) -> None:
    challenges = iter([b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 fine\r\n"])
    if mechanism == "CRAM-MD5":
        challenges = iter([b"334 PDEyM0BtYWlsPg==\r\n", b"235 fine\r\n"])

    def reply(*about: Any) -> bytes:
        return b"235 fine\r\n" if mechanism == "PLAIN" else next(challenges)

    scripted_server.script = {"EHLO": f"250-a\r\n250 AUTH {mechanism}\r\n".encode(), "AUTH": reply}
    scripted_server.otherwise = reply
    courier = make_courier(
        **scripted_server.settings, MAIL_USERNAME="bl\u00f6g", MAIL_PASSWORD=PASSWORD
    )
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("error") == [None]
    login = [line for line in scripted_server.heard if line.split()[0].lower() not in NO_LOGIN]
    lines = [line.split()[-1] for line in login]
    digest = hmac.new(PASSWORD.encode(), b"<123@mail>", "md5").hexdigest()
    expected = {
        "PLAIN": [f"\0bl\u00f6g\0{PASSWORD}"],
        "LOGIN": ["bl\u00f6g", PASSWORD],
        "CRAM-MD5": [f"bl\u00f6g {digest}"],
    }[mechanism]
    sent = [base64.b64decode(line).decode() for line in lines if line.decode() != mechanism]
    assert sent == expected


def test_a_host_without_md5_logs_in_with_another_mechanism(
    make_courier: Callable[..., Any], scripted_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = hmac.new

    def in_fips_mode(key: bytes, msg: bytes | None = None, digestmod: Any = "") -> hmac.HMAC:
        if digestmod == "md5":
            raise ValueError("unsupported hash type md5")
        return new(key, msg, digestmod)

    monkeypatch.setattr(hmac, "new", in_fips_mode)
    scripted_server.script = {
        "EHLO": b"250-a\r\n250 AUTH CRAM-MD5 PLAIN\r\n",
        "AUTH": b"235 fine\r\n",
    }
    courier = make_courier(**scripted_server.settings, MAIL_USERNAME="blog", MAIL_PASSWORD="secret")
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"]
    [login] = [line for line in scripted_server.heard if line.startswith(b"AUTH")]
    assert login.startswith(b"AUTH PLAIN ")


@pytest.mark.usefixtures("trusted")
def test_a_real_server_accepts_a_non_ascii_password(
    make_server: Callable[..., Server],
    make_courier: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LOGIN, "MAIL_PASSWORD", PASSWORD)
    server = make_server("starttls", login=True)
    courier = make_courier(**server.settings, **LOGIN)
    courier.fail("one")
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"]
    assert server.passwords == [PASSWORD.encode()]
