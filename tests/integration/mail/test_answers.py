"""What a mail server may answer, and what becomes of the mails."""

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
def rounds(make_rounds: Callable[..., Any], scripted_server: Any) -> Any:
    """A courier for that server, with two mails to send."""
    made = make_rounds(**scripted_server.settings, MAIL_TIMEOUT=1)
    made.fail("one")
    made.fail("two")
    return made


def delivered(server: Any) -> list[str]:
    """Return which mails the server has taken, by the kind of their error."""
    subjects = [mail.partition(b"\nTo:")[0] for _, mail in server.mails]
    return sorted(kind for kind in ("one", "two") for it in subjects if f": {kind}".encode() in it)


def mend(rounds: Any, server: Any) -> None:
    """Let the server take everything from now on, and let time go by."""
    server.script = {}
    for _ in range(3):
        rounds.after(300)


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
def test_what_is_about_the_server_or_the_settings_makes_all_mails_wait(
    rounds: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture, step: str, answer: str
) -> None:
    scripted_server.script = {"HELO": b"504 nor that\r\n", step: f"{answer}\r\n".encode()}
    rounds.after(0)
    assert rounds.column("state") == ["waiting", "waiting"]
    assert len(set(rounds.waits())) == 1
    assert 0 < rounds.waits()[0] <= 1
    assert scripted_server.connections == 1
    assert ("504 nor that" if step == "EHLO" else answer) in caplog.text
    mend(rounds, scripted_server)
    assert rounds.column("state") == ["delivered", "delivered"]
    assert delivered(scripted_server) == ["one", "two"]


@pytest.mark.parametrize("step", ["DATA", "content"])
@pytest.mark.parametrize("answer", ["450 later", "451 no room"])
def test_data_that_is_refused_for_now_is_sent_again(
    rounds: Any, scripted_server: Any, step: str, answer: str
) -> None:
    scripted_server.script = {step: f"{answer}\r\n".encode()}
    rounds.after(0)
    assert rounds.column("state") == ["waiting", "waiting"]
    assert answer in rounds.column("error")[0]
    mend(rounds, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


REFUSALS = [("DATA", "554 no"), ("content", "554 spam"), ("MAIL", "552 too large")]


@pytest.mark.parametrize(("step", "answer"), REFUSALS)
def test_a_server_that_refuses_every_mail_for_good_loses_none(
    rounds: Any, scripted_server: Any, step: str, answer: str
) -> None:
    scripted_server.script = {step: f"{answer}\r\n".encode()}
    for _ in range(5):
        rounds.after(300)
    assert rounds.column("state") == ["waiting", "waiting"]
    assert answer in rounds.column("error")[0]
    mend(rounds, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


@pytest.mark.parametrize(("step", "answer"), REFUSALS)
def test_a_mail_that_is_refused_while_others_are_taken_fails_with_the_servers_words(
    rounds: Any, scripted_server: Any, step: str, answer: str
) -> None:
    offered: list[str] = []

    def refuse_first(connection: socket.socket, *about: Any) -> bytes:
        offered.append(step)
        return f"{answer}\r\n".encode() if len(offered) != 2 else b""

    scripted_server.script = {step: refuse_first}
    rounds.after(0)
    assert rounds.column("state") == ["waiting", "delivered"]
    rounds.after(1)
    assert rounds.column("kind") == ["report", "report", "notice"]
    assert rounds.column("state") == ["failed", "delivered", "waiting"]
    assert answer in rounds.column("error")[0]


@pytest.mark.parametrize("answer", [b"554 spam\r\n", b"451 later\r\n", b"421 closing\r\n", b""])
def test_a_poison_mail_does_not_hold_up_the_next(
    rounds: Any, scripted_server: Any, answer: bytes
) -> None:
    """The last answer is none: the server closes the line."""

    def refuse_one(connection: socket.socket, content: bytes) -> bytes:
        if b"ValueError: one" not in content:
            return b""
        if not answer:
            connection.shutdown(socket.SHUT_RDWR)
        return answer

    scripted_server.script = {"content": refuse_one}
    rounds.after(0)
    assert rounds.column("state")[1] == "delivered"
    assert delivered(scripted_server) == ["two"]


@pytest.mark.parametrize("step", ["RCPT", "DATA", "content"])
def test_a_server_that_takes_nothing_for_now_is_not_asked_for_every_mail(
    rounds: Any, scripted_server: Any, step: str
) -> None:
    for number in range(3, 10):
        rounds.fail(str(number))
    scripted_server.script = {step: b"450 later\r\n"}
    rounds.after(0)
    assert sum(rounds.column("tries")) == 2
    assert all(0 < wait <= 1 for wait in rounds.waits())


def test_two_poison_mails_do_not_hold_up_the_others(rounds: Any, scripted_server: Any) -> None:
    rounds.fail("good")

    def cut(connection: socket.socket, content: bytes) -> None:
        if b"ValueError: good" not in content:
            connection.shutdown(socket.SHUT_RDWR)

    scripted_server.script = {"content": cut}
    rounds.after(0)
    rounds.after(1)
    assert rounds.column("state") == ["waiting", "waiting", "delivered"]
    rounds.fail("good too")
    rounds.after(10)
    assert rounds.column("state")[3] == "delivered"


@pytest.mark.parametrize("step", STEPS[2:])
def test_a_server_that_closes_the_line_gets_the_mail_on_another(
    rounds: Any, scripted_server: Any, step: str
) -> None:
    told: list[str] = []

    def close_once(connection: socket.socket, *about: Any) -> bytes:
        told.append(step)
        return b"421 enough for now\r\n" if len(told) == 1 else b""

    scripted_server.script = {step: close_once}
    rounds.after(0)
    assert rounds.column("state") == ["waiting", "delivered"]
    assert scripted_server.connections == 2
    rounds.after(2)
    assert rounds.column("state") == ["delivered", "delivered"]
    assert delivered(scripted_server) == ["one", "two"]


# Recipients


def by_address(**answers: bytes) -> Callable[..., bytes]:
    """Answer RCPT by the name before the @."""
    return lambda connection, address: answers.get(address.partition("@")[0], b"")


def test_a_recipient_who_is_refused_for_now_is_the_only_one_to_get_it_later(
    rounds: Any, scripted_server: Any
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    rounds.after(0)
    assert rounds.recipients() == [["second@microblog.example"]] * 2
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 2
    mend(rounds, scripted_server)
    assert rounds.column("state") == ["delivered"] * 2
    assert [who for who, _ in scripted_server.mails[2:]] == [("second@microblog.example",)] * 2


def test_a_recipient_who_is_refused_for_good_does_not_cost_the_other_his_mail(
    rounds: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"550 unknown\r\n")}
    rounds.after(0)
    assert rounds.column("state") == ["delivered"] * 2
    assert "second@microblog.example: 550 unknown" in rounds.column("error")[0]
    assert "second@microblog.example: 550 unknown" in caplog.text
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 2


def test_one_who_is_refused_for_good_later_does_not_make_all_wait(
    rounds: Any, scripted_server: Any
) -> None:
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    rounds.after(0)
    scripted_server.script = {"RCPT": by_address(second=b"550 unknown\r\n")}
    rounds.after(300)
    assert rounds.column("state") == ["delivered"] * 2
    assert rounds.round.failures == 0


def test_after_admins_was_mended_one_who_is_refused_for_now_holds_up_no_other_mail(
    rounds: Any, scripted_server: Any
) -> None:
    rounds.fail("three")
    scripted_server.script = {"RCPT": b"550 no relaying\r\n"}
    for _ in range(3):
        rounds.after(300)
    scripted_server.script = {"RCPT": by_address(second=b"450 greylisted\r\n")}
    rounds.after(300)
    assert [who for who, _ in scripted_server.mails] == [("first@microblog.example",)] * 3
    assert rounds.round.failures == 0


def test_nobody_is_given_up_before_somebody_has_the_mail(rounds: Any, scripted_server: Any) -> None:
    gone = b"550 unknown\r\n"
    scripted_server.script = {"RCPT": by_address(first=b"450 greylisted\r\n", second=gone)}
    rounds.after(0)
    scripted_server.script = {"RCPT": by_address(first=gone, second=gone)}
    rounds.after(300)
    assert rounds.column("state") == ["waiting"] * 2
    mend(rounds, scripted_server)
    assert rounds.column("state") == ["delivered"] * 2
    assert delivered(scripted_server) == ["one", "two"]


def test_admins_of_whom_one_was_taken_out_in_vain_do_not_lose_their_mail(
    rounds: Any, make_rounds: Callable[..., Any], scripted_server: Any
) -> None:
    """The server relays for nobody; it was not the address that had to be mended."""
    scripted_server.script = {"RCPT": b"550 no relaying\r\n"}
    rounds.after(0)
    fewer = make_rounds(**scripted_server.settings | {"ADMINS": "second@microblog.example"})
    fewer.now = rounds.now
    for _ in range(3):
        fewer.after(300)
    assert fewer.column("state") == ["waiting"] * 2
    mend(fewer, scripted_server)
    assert fewer.column("state") == ["delivered"] * 2


def test_a_mail_is_not_sent_again_and_again_while_the_spool_is_locked(
    rounds: Any, scripted_server: Any
) -> None:
    """What became of it could not be noted."""
    rounds.mailbox.take_incoming()
    rounds.round.planner.plan(rounds.now)
    rounds.mailbox.connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(rounds.outbox.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                rounds.round.send(rounds.now)
    assert delivered(scripted_server) == []
    rounds.after(0)
    assert delivered(scripted_server) == ["one", "two"]


def test_after_admins_was_mended_what_waits_goes_to_the_right_ones(
    rounds: Any, make_rounds: Callable[..., Any], scripted_server: Any
) -> None:
    scripted_server.script = {
        "RCPT": by_address(first=b"550 unknown\r\n", second=b"550 unknown\r\n")
    }
    rounds.after(0)
    assert rounds.column("state") == ["waiting"] * 2
    mended = make_rounds(**scripted_server.settings | {"ADMINS": "right@microblog.example"})
    mended.now = rounds.now
    for _ in range(5):
        mended.after(300)
    assert mended.column("state") == ["delivered"] * 2
    assert [who for who, _ in scripted_server.mails] == [("right@microblog.example",)] * 2


# Nonsense


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "nonsense", [b"\r\n", b"hello?\r\n", b"999 yes\r\n", b"\xff\xfe\x00\r\n", b"x" * 100_000]
)
def test_a_server_that_talks_nonsense_costs_no_mail(
    rounds: Any, scripted_server: Any, step: str, nonsense: bytes
) -> None:
    scripted_server.script = {"HELO": nonsense, step: nonsense}
    rounds.after(0)
    assert rounds.column("state") == ["waiting"] * 2
    mend(rounds, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


def test_odd_words_of_a_server_harm_neither_log_nor_terminal(
    rounds: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    words = "554 caf\u00e9 \x1b[31m red".encode() + b" \xff " + b"and so on " * 200 + b"\r\n"
    scripted_server.script = {"content": words}
    rounds.after(0)
    error = rounds.column("error")[0]
    assert "554 café [31m red \ufffd and so on" in error
    assert error.isprintable()
    assert len(error) < 700
    assert "\x1b" not in caplog.text


def test_a_password_that_a_server_repeats_is_not_kept(
    make_rounds: Callable[..., Any], scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"AUTH": b"535 is correct-horse-battery your password?\r\n"}
    login = {"MAIL_USERNAME": "blog", "MAIL_PASSWORD": "correct-horse-battery"}
    rounds = make_rounds(**scripted_server.settings, **login)
    rounds.fail("one")
    rounds.after(0)
    for text in (rounds.column("error")[0], caplog.text):
        assert "refused the login: check MAIL_USERNAME and MAIL_PASSWORD" in text
        assert "correct-horse" not in text


# Slowness


def drip(piece: bytes, seconds: float = 0.1) -> Callable[..., bytes]:
    """Send a piece of an answer now and then, without an end."""

    def send(connection: socket.socket, *about: Any) -> bytes:
        for _ in range(100):
            connection.sendall(piece)
            time.sleep(seconds)
        raise ValueError("nobody has hung up")

    return send


@pytest.mark.parametrize("step", [*STEPS[:-1], "QUIT"])
@pytest.mark.parametrize("piece", [b"2", b"250-and\r\n"])
def test_a_server_that_drips_does_not_hold_the_courier(
    rounds: Any, scripted_server: Any, step: str, piece: bytes
) -> None:
    """One byte at a time, or one line: the answer as a whole must come within MAIL_TIMEOUT."""
    scripted_server.script = {step: drip(piece)}
    started = time.monotonic()
    rounds.after(0)
    assert time.monotonic() - started < 4  # two mails that are cut off after a second each
    if step != "QUIT":
        assert rounds.column("state") == ["waiting"] * 2
        assert "did not answer within 1 s" in rounds.column("error")[0]
        mend(rounds, scripted_server)
    assert delivered(scripted_server) == ["one", "two"]


def test_a_server_whose_answer_has_no_end_is_hung_up_on(rounds: Any, scripted_server: Any) -> None:
    scripted_server.script = {"MAIL": drip(b"250-and so on\r\n" * 1000, 0)}
    rounds.after(0)
    assert "reply has no end" in rounds.column("error")[0]


def test_the_log_says_when_the_next_try_is(
    rounds: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_server.script = {"greeting": b"421 busy\r\n"}
    rounds.after(0)
    (record,) = [one for one in caplog.records if one.name == "flask_mayday.courier.delivery"]
    assert record.levelno == logging.WARNING
    assert "No error mail can be sent, next try in 1 s" in record.getMessage()


def test_a_new_mail_waits_for_as_long_as_those_that_were_put_off(
    rounds: Any, scripted_server: Any
) -> None:
    scripted_server.script = {"greeting": b"421 busy\r\n"}
    for _ in range(5):
        rounds.after(max(rounds.waits(), default=0))
    rounds.fail("three")
    rounds.after(1)
    assert len(set(rounds.waits())) == 1
    assert len(rounds.waits()) == 3
    assert scripted_server.connections == 5


# Connections that end between two mails


@pytest.mark.parametrize("ends", [b"421 closing after each mail\r\n", b""])
def test_a_server_that_closes_after_each_mail_gets_all_mails_without_a_warning(
    make_rounds: Callable[..., Any],
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
    rounds = make_rounds(**scripted_server.settings)
    for number in range(12):
        rounds.fail(str(number))
    rounds.after(0)
    assert rounds.column("state") == ["delivered"] * 12
    assert len(scripted_server.mails) == 12
    assert caplog.messages == []


def test_the_greeting_names_mail_helo_name(
    make_rounds: Callable[..., Any], scripted_server: Any
) -> None:
    rounds = make_rounds(**scripted_server.settings, MAIL_HELO_NAME="www.example.com")
    rounds.fail("one")
    rounds.after(0)
    assert scripted_server.heard[0] == b"ehlo www.example.com\r\n"
