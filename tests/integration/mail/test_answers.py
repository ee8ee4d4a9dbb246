"""Every reply of a mail server, and the state of the mails after it."""

from __future__ import annotations

import contextlib
import logging
import socket
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "content")


@pytest.fixture
def mail_timeout() -> int:
    """Return MAIL_TIMEOUT: many seconds, except in tests whose server does not answer."""
    return 20


@pytest.fixture
def courier(make_courier: Callable[..., Any], scripted_server: Any, mail_timeout: int) -> Any:
    """Return a courier for the scripted server, with two mails to send."""
    made = make_courier(**scripted_server.settings, MAIL_TIMEOUT=mail_timeout)
    made.fail("one")
    made.fail("two")
    return made


def delivered(server: Any) -> list[str]:
    """Return the kinds of the errors whose mails the server has accepted."""
    subjects = [mail.partition(b"\nTo:")[0] for _, mail in server.mails]
    return sorted(kind for kind in ("one", "two") for it in subjects if f": {kind}".encode() in it)


def accept_all_mails(courier: Any, server: Any) -> None:
    """Let the server accept every mail from now on, and deliver three times."""
    server.script = {}
    for _ in range(3):
        courier.deliver_after(300)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("greeting", "421 too busy"),
        ("greeting", "554 not for you"),
        ("EHLO", "504 what is that"),
        ("MAIL", "451 later"),
        ("MAIL", "530 log in first"),
        ("MAIL", "550 who is that"),
        ("MAIL", "553 not your address"),
        ("RCPT", "550 there is nobody of that name"),
        ("RCPT", "554 no relaying"),
    ],
)
def test_an_error_of_the_server_or_the_settings_keeps_every_mail_waiting(
    courier: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture, step: str, answer: str
) -> None:
    scripted_server.script = {"HELO": b"504 nor that\r\n", step: f"{answer}\r\n".encode()}
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting", "waiting"]
    assert len(set(courier.waits())) == 1
    assert 0 < courier.waits()[0] <= 1
    assert scripted_server.connections == 1
    assert ("504 nor that" if step == "EHLO" else answer) in caplog.text
    accept_all_mails(courier, scripted_server)
    assert courier.column("state") == ["delivered", "delivered"]
    assert delivered(scripted_server) == ["one", "two"]


@pytest.mark.parametrize("step", ["DATA", "content"])
@pytest.mark.parametrize("answer", ["450 later", "451 no room"])
def test_a_temporary_refusal_of_data_is_retried(
    courier: Any, scripted_server: Any, step: str, answer: str
) -> None:
    scripted_server.script = {step: f"{answer}\r\n".encode()}
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting", "waiting"]
    assert answer in courier.column("error")[0]
    accept_all_mails(courier, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


REFUSALS = [("DATA", "554 no"), ("content", "554 spam"), ("MAIL", "552 too large")]


@pytest.mark.parametrize(("step", "answer"), REFUSALS)
def test_no_mail_is_lost_when_the_server_refuses_all_permanently(
    courier: Any, scripted_server: Any, step: str, answer: str
) -> None:
    scripted_server.script = {step: f"{answer}\r\n".encode()}
    for _ in range(5):
        courier.deliver_after(300)
    assert courier.column("state") == ["waiting", "waiting"]
    assert answer in courier.column("error")[0]
    accept_all_mails(courier, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


@pytest.mark.parametrize(("step", "answer"), REFUSALS)
def test_a_mail_refused_while_others_are_accepted_fails_with_the_servers_reply(
    courier: Any, scripted_server: Any, step: str, answer: str
) -> None:
    offered: list[str] = []

    def refuse_first(connection: socket.socket, *about: Any) -> bytes:
        offered.append(step)
        return f"{answer}\r\n".encode() if len(offered) != 2 else b""

    scripted_server.script = {step: refuse_first}
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting", "delivered"]
    courier.deliver_after(1)
    assert courier.column("kind") == ["report", "report", "notice"]
    assert courier.column("state") == ["failed", "delivered", "waiting"]
    assert answer in courier.column("error")[0]


@pytest.mark.parametrize("answer", [b"554 spam\r\n", b"451 later\r\n", b"421 closing\r\n", b""])
def test_a_poison_mail_does_not_delay_the_next(
    courier: Any, scripted_server: Any, answer: bytes
) -> None:
    """The last parameter is no reply: the server closes the connection."""

    def refuse_one(connection: socket.socket, content: bytes) -> bytes:
        if b"ValueError: one" not in content:
            return b""
        if not answer:
            connection.shutdown(socket.SHUT_RDWR)
        return answer

    scripted_server.script = {"content": refuse_one}
    courier.deliver_after(0)
    assert courier.column("state")[1] == "delivered"
    assert delivered(scripted_server) == ["two"]


@pytest.mark.parametrize("step", ["RCPT", "DATA", "content"])
def test_a_server_that_refuses_temporarily_is_not_tried_for_every_mail(
    courier: Any, scripted_server: Any, step: str
) -> None:
    for number in range(3, 10):
        courier.fail(str(number))
    scripted_server.script = {step: b"450 later\r\n"}
    courier.deliver_after(0)
    assert sum(courier.column("tries")) == 2
    assert all(0 < wait <= 1 for wait in courier.waits())


def test_two_poison_mails_do_not_delay_the_others(courier: Any, scripted_server: Any) -> None:
    courier.fail("good")

    def cut(connection: socket.socket, content: bytes) -> None:
        if b"ValueError: good" not in content:
            connection.shutdown(socket.SHUT_RDWR)

    scripted_server.script = {"content": cut}
    courier.deliver_after(0)
    courier.deliver_after(1)
    assert courier.column("state") == ["waiting", "waiting", "delivered"]
    courier.fail("good too")
    courier.deliver_after(10)
    assert courier.column("state")[3] == "delivered"


@pytest.mark.parametrize("step", STEPS[2:])
def test_a_mail_is_sent_on_a_new_connection_after_the_server_closes_one(
    courier: Any, scripted_server: Any, step: str
) -> None:
    replies: list[str] = []

    def close_once(connection: socket.socket, *about: Any) -> bytes:
        replies.append(step)
        return b"421 enough for now\r\n" if len(replies) == 1 else b""

    scripted_server.script = {step: close_once}
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting", "delivered"]
    assert scripted_server.connections == 2
    courier.deliver_after(2)
    assert courier.column("state") == ["delivered", "delivered"]
    assert delivered(scripted_server) == ["one", "two"]


# Recipients


def by_address(**answers: bytes) -> Callable[..., bytes]:
    """Return a reply to RCPT that depends on the local part of the address."""
    return lambda connection, address: answers.get(address.partition("@")[0], b"")


def test_only_a_temporarily_refused_recipient_is_retried(
    courier: Any, scripted_server: Any
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    courier.deliver_after(0)
    assert courier.recipients() == [["second@microblog.example"]] * 2
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 2
    accept_all_mails(courier, scripted_server)
    assert courier.column("state") == ["delivered"] * 2
    assert [who for who, _ in scripted_server.mails[2:]] == [("second@microblog.example",)] * 2


def test_a_permanently_refused_recipient_does_not_block_the_other(
    courier: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"550 unknown\r\n")}
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"] * 2
    assert "second@microblog.example: 550 unknown" in courier.column("error")[0]
    assert "second@microblog.example: 550 unknown" in caplog.text
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 2


def test_a_recipient_refused_permanently_on_retry_does_not_block_other_mails(
    courier: Any, scripted_server: Any
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    courier.deliver_after(0)
    scripted_server.script = {"RCPT": by_address(second=b"550 unknown\r\n")}
    courier.deliver_after(300)
    assert courier.column("state") == ["delivered"] * 2
    assert courier.delivery.failures == 0


def test_after_admins_is_fixed_a_temporarily_refused_recipient_delays_no_other_mail(
    courier: Any, scripted_server: Any
) -> None:
    courier.fail("three")
    scripted_server.script = {"RCPT": b"550 no relaying\r\n"}
    for _ in range(3):
        courier.deliver_after(300)
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    courier.deliver_after(300)
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 3
    assert courier.delivery.failures == 0


def test_no_recipient_is_dropped_before_one_has_received_the_mail(
    courier: Any, scripted_server: Any
) -> None:
    gone = b"550 unknown\r\n"
    scripted_server.script = {"RCPT": by_address(first=b"450 greylisted\r\n", second=gone)}
    courier.deliver_after(0)
    scripted_server.script = {"RCPT": by_address(first=gone, second=gone)}
    courier.deliver_after(300)
    assert courier.column("state") == ["waiting"] * 2
    accept_all_mails(courier, scripted_server)
    assert courier.column("state") == ["delivered"] * 2
    assert delivered(scripted_server) == ["one", "two"]


def test_removing_an_admin_who_was_not_the_cause_loses_no_mail(
    courier: Any, make_courier: Callable[..., Any], scripted_server: Any
) -> None:
    """The server relays for nobody: the removed address was not the cause."""
    scripted_server.script = {"RCPT": b"550 no relaying\r\n"}
    courier.deliver_after(0)
    fewer = make_courier(**scripted_server.settings | {"ADMINS": "second@microblog.example"})
    fewer.now = courier.now
    for _ in range(3):
        fewer.deliver_after(300)
    assert fewer.column("state") == ["waiting"] * 2
    accept_all_mails(fewer, scripted_server)
    assert fewer.column("state") == ["delivered"] * 2


def test_a_mail_is_not_sent_repeatedly_while_the_spool_is_locked(
    courier: Any, scripted_server: Any
) -> None:
    """The result could not be written to the database, so nothing is sent."""
    courier.mailbox.take_incoming()
    courier.delivery.planner.plan(courier.now)
    courier.mailbox.connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(courier.outbox.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                courier.delivery.send(courier.now)
    assert delivered(scripted_server) == []
    courier.deliver_after(0)
    assert delivered(scripted_server) == ["one", "two"]


def test_waiting_mails_go_to_the_corrected_admins(
    courier: Any, make_courier: Callable[..., Any], scripted_server: Any
) -> None:
    scripted_server.script = {
        "RCPT": by_address(first=b"550 unknown\r\n", second=b"550 unknown\r\n")
    }
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"] * 2
    fixed = make_courier(**scripted_server.settings | {"ADMINS": "right@microblog.example"})
    fixed.now = courier.now
    for _ in range(5):
        fixed.deliver_after(300)
    assert fixed.column("state") == ["delivered"] * 2
    assert [who for who, _ in scripted_server.mails] == [("right@microblog.example",)] * 2


# Invalid replies


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "nonsense", [b"\r\n", b"hello?\r\n", b"999 yes\r\n", b"\xff\xfe\x00\r\n", b"x" * 100_000]
)
def test_invalid_replies_lose_no_mail(
    courier: Any, scripted_server: Any, step: str, nonsense: bytes
) -> None:
    scripted_server.script = {"HELO": nonsense, step: nonsense}
    courier.deliver_after(0)
    assert courier.column("state") == ["waiting"] * 2
    accept_all_mails(courier, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


def test_control_characters_in_a_reply_are_escaped_in_log_and_terminal(
    courier: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    words = "554 caf\u00e9 \x1b[31m red".encode() + b" \xff " + b"and so on " * 200 + b"\r\n"
    scripted_server.script = {"content": words}
    courier.deliver_after(0)
    error = courier.column("error")[0]
    assert "554 café [31m red \ufffd and so on" in error
    assert error.isprintable()
    assert len(error) < 700
    assert "\x1b" not in caplog.text


def test_a_password_repeated_in_a_reply_is_not_stored(
    make_courier: Callable[..., Any], scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"AUTH": b"535 is correct-horse-battery your password?\r\n"}
    login = {"MAIL_USERNAME": "blog", "MAIL_PASSWORD": "correct-horse-battery"}
    courier = make_courier(**scripted_server.settings, **login)
    courier.fail("one")
    courier.deliver_after(0)
    for text in (courier.column("error")[0], caplog.text):
        assert "refused the login: check MAIL_USERNAME and MAIL_PASSWORD" in text
        assert "correct-horse" not in text


# Slow servers


def drip(piece: bytes, seconds: float = 0.1) -> Callable[..., bytes]:
    """Send ``piece`` every ``seconds`` without end."""

    def send(connection: socket.socket, *about: Any) -> bytes:
        for _ in range(100):
            connection.sendall(piece)
            time.sleep(seconds)
        raise ValueError("nobody has hung up")

    return send


@pytest.mark.parametrize("mail_timeout", [1])
@pytest.mark.parametrize("step", [*STEPS[:-1], "QUIT"])
@pytest.mark.parametrize("piece", [b"2", b"250-and\r\n"])
def test_a_reply_sent_in_drips_does_not_block_the_courier(
    courier: Any, scripted_server: Any, step: str, piece: bytes
) -> None:
    """One byte or one line at a time: MAIL_TIMEOUT limits the reply as a whole."""
    scripted_server.script = {step: drip(piece)}
    started = time.monotonic()
    courier.deliver_after(0)
    assert time.monotonic() - started < 20  # two mails, each stopped after a second
    if step != "QUIT":
        assert courier.column("state") == ["waiting"] * 2
        assert "did not answer within 1 s" in courier.column("error")[0]
        accept_all_mails(courier, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


def test_the_connection_is_closed_on_an_endless_reply(courier: Any, scripted_server: Any) -> None:
    scripted_server.script = {"MAIL": drip(b"250-and so on\r\n" * 1000, 0)}
    courier.deliver_after(0)
    assert "reply has no end" in courier.column("error")[0]


def test_the_log_names_the_time_of_the_next_try(
    courier: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"greeting": b"421 busy\r\n"}
    courier.deliver_after(0)
    (record,) = [one for one in caplog.records if one.name == "flask_mayday.courier.delivery"]
    assert record.levelno == logging.WARNING
    assert "No error mail can be sent, next try in 1 s" in record.getMessage()


def test_a_new_mail_waits_as_long_as_the_postponed_ones(courier: Any, scripted_server: Any) -> None:
    scripted_server.script = {"greeting": b"421 busy\r\n"}
    for _ in range(5):
        courier.deliver_after(max(courier.waits(), default=0))
    courier.fail("three")
    courier.deliver_after(1)
    assert len(set(courier.waits())) == 1
    assert len(courier.waits()) == 3
    assert scripted_server.connections == 5


# Connections that end between two mails


@pytest.mark.parametrize("ends", [b"421 closing after each mail\r\n", b""])
def test_a_server_that_closes_after_each_mail_receives_all_without_a_warning(
    make_courier: Callable[..., Any],
    scripted_server: Any,
    caplog: pytest.LogCaptureFixture,
    ends: bytes,
) -> None:
    def close(connection: socket.socket, content: bytes) -> bytes:
        scripted_server.mails.append(((), content))
        connection.sendall(b"250 taken\r\n" + ends)
        connection.shutdown(socket.SHUT_RDWR)
        return b"250 taken\r\n"

    scripted_server.script = {"content": close}
    courier = make_courier(**scripted_server.settings)
    for number in range(12):
        courier.fail(str(number))
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"] * 12
    assert len(scripted_server.mails) == 12
    assert caplog.messages == []


def test_the_greeting_names_mail_helo_name(
    make_courier: Callable[..., Any], scripted_server: Any
) -> None:
    courier = make_courier(**scripted_server.settings, MAIL_HELO_NAME="www.example.com")
    courier.fail("one")
    courier.deliver_after(0)
    assert scripted_server.heard[0] == b"ehlo www.example.com\r\n"
