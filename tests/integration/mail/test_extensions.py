"""Servers with and without the common SMTP extensions."""

from __future__ import annotations

import socket
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from typing import Any

import pytest

from flask_mayday.courier.smtp_connection import to_7bit
from flask_mayday.courier.smtp_session import Fate, SmtpSession, Verdict
from flask_mayday.settings import read_settings

TEXT = "Caf\u00e9 \u2026 \u4f60\u597d = 1\n.a line with a dot\n"
EIGHT_BIT = SMTP.clone(cte_type="8bit", max_line_length=998)


def mail(text: str = TEXT) -> bytes:
    """Return a mail of 8-bit text with an HTML part."""
    message = EmailMessage(policy=EIGHT_BIT)
    message["Subject"] = "[Microblog] ValueError: a subject that is found in one piece " + "x" * 90
    message["Message-ID"] = "<fixed@microblog.example>"
    message.set_content(text, charset="utf-8", cte="8bit")
    message.add_alternative(f"<p>{text}</p>", "html", charset="utf-8", cte="8bit")
    return message.as_bytes()


@pytest.fixture
def offer(scripted_server: Any) -> Callable[..., Verdict]:
    """Return a function that sends a mail to the scripted server."""

    def send(content: bytes) -> Verdict:
        settings = read_settings({**scripted_server.settings, "MAIL_TIMEOUT": 20}).mail
        with SmtpSession(settings) as session:
            return session.send(settings.admins, content)

    return send


def bodies(content: bytes) -> list[str]:
    message = message_from_bytes(content.removesuffix(b".\r\n"), policy=default)
    return [
        part.get_content().replace("\r\n", "\n")
        for part in message.walk()
        if not part.is_multipart()
    ]


def ehlo(*extensions: str) -> bytes:
    lines = ["mail.example", *extensions]
    return b"".join(
        f"250{'-' if line is not lines[-1] else ' '}{line}\r\n".encode() for line in lines
    )


def received(server: Any) -> bytes:
    """Return the one mail that the server accepted, without SMTP's dot-stuffing."""
    ((_, content),) = server.mails
    return bytes(content.replace(b"\r\n..", b"\r\n."))


def refuse_8bit(connection: socket.socket, content: bytes) -> bytes:
    return b"" if content.isascii() else b"554 5.6.1 8-bit data\r\n"


def test_a_server_without_8bitmime_gets_the_same_mail_in_7_bits(
    offer: Callable[..., Verdict], scripted_server: Any
) -> None:
    scripted_server.script = {"EHLO": ehlo("SIZE 1000000"), "content": refuse_8bit}
    assert offer(mail()).fate is Fate.DELIVERED
    content = received(scripted_server)
    assert content.isascii()
    assert bodies(content) == bodies(mail())
    head = mail().partition(b"MIME-Version")[0]
    assert content.startswith(head)
    assert not any(b"BODY=" in line for line in scripted_server.heard)


def test_a_server_with_8bitmime_gets_the_mail_unchanged_with_body_8bitmime(
    offer: Callable[..., Verdict], scripted_server: Any
) -> None:
    scripted_server.script = {"EHLO": ehlo("8BITMIME")}
    content = mail()
    assert offer(content).fate is Fate.DELIVERED
    assert received(scripted_server).removesuffix(b".\r\n") == content
    assert [line for line in scripted_server.heard if line.endswith(b" BODY=8BITMIME\r\n")]


def test_an_ascii_mail_is_not_announced_as_8_bit(
    offer: Callable[..., Verdict], scripted_server: Any
) -> None:
    scripted_server.script = {"EHLO": ehlo("8BITMIME")}
    assert offer(mail("plain")).fate is Fate.DELIVERED
    assert not any(b"BODY=" in line for line in scripted_server.heard)


@pytest.mark.parametrize("refusal", [b"500 what?\r\n", b"502 not here\r\n", b"550 no\r\n"])
def test_a_server_that_knows_only_helo_gets_no_parameters_and_7_bits(
    offer: Callable[..., Verdict], scripted_server: Any, refusal: bytes
) -> None:
    scripted_server.script = {"EHLO": refusal, "content": refuse_8bit}
    assert offer(mail()).fate is Fate.DELIVERED
    assert b"mail FROM:<no-reply@microblog.example>\r\n" in scripted_server.heard
    assert bodies(received(scripted_server)) == bodies(mail())


@pytest.mark.parametrize("extensions", [(), ("8BITMIME",)])
@pytest.mark.parametrize("letter", ["x", "\u4f60"])
def test_no_line_is_longer_than_998_bytes(
    offer: Callable[..., Verdict], scripted_server: Any, extensions: tuple[str, ...], letter: str
) -> None:
    text = f"before\n{letter * 3000}\nafter\n"
    scripted_server.script = {"EHLO": ehlo(*extensions)}
    assert offer(mail(text)).fate is Fate.DELIVERED
    content = received(scripted_server)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert bodies(content) == bodies(mail(text))


@pytest.mark.parametrize("length", [997, 998, 999])
def test_a_line_of_998_bytes_is_sent_unchanged(
    offer: Callable[..., Verdict], scripted_server: Any, length: int
) -> None:
    content = b"Subject: long\r\n\r\n" + b"x" * length + b"\r\n"
    assert offer(content).fate is Fate.DELIVERED
    is_same = received(scripted_server).removesuffix(b".\r\n") == content
    assert is_same is (length <= 998)


def test_a_mail_larger_than_size_is_not_sent_and_the_verdict_names_both_sizes(
    offer: Callable[..., Verdict], scripted_server: Any
) -> None:
    scripted_server.script = {"EHLO": ehlo("8BITMIME", "SIZE 200")}
    verdict = offer(mail())
    assert verdict.fate is Fate.FAILED
    expected = f"takes mails of at most 200 bytes, and this one has {len(mail())}."
    assert verdict.words.endswith(expected)
    assert not any(line.startswith(b"mail") for line in scripted_server.heard)


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE many"])
def test_a_size_extension_without_a_positive_number_is_no_limit(
    offer: Callable[..., Verdict], scripted_server: Any, size: str
) -> None:
    scripted_server.script = {"EHLO": ehlo(size)}
    assert offer(mail()).fate is Fate.DELIVERED


def test_converting_a_7_bit_mail_to_7_bits_changes_nothing() -> None:
    once = to_7bit(mail())
    assert bodies(to_7bit(once)) == bodies(once) == bodies(mail())


def test_a_header_with_8_bit_bytes_is_encoded() -> None:
    content = "Subject: caf\u00e9\r\n\r\nbody\r\n".encode()
    assert to_7bit(content).isascii()
