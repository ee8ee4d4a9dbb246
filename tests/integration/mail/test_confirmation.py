"""A server that has the whole mail and is slow to confirm it, or never does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_mayday.courier import pending_replies
from tests.integration.mail.conftest import Rounds

WaitUntil = Callable[..., Any]


@pytest.fixture
def rounds(make_rounds: Callable[..., Any], scripted_server: Any) -> Any:
    """A courier for that server, with one mail to send."""
    made = make_rounds(**scripted_server.settings, MAIL_TIMEOUT=1)
    made.fail("one")
    return made


class SlowContent:
    """Answers each mail only when a test says so; keeps count of the copies of each."""

    def __init__(self, reply: bytes = b"") -> None:
        self.reply = reply
        self.released = threading.Event()
        self.copies: list[bytes] = []

    def __call__(self, connection: socket.socket, content: bytes) -> bytes:
        self.copies.append(content)
        assert self.released.wait(30)
        return self.reply


def first_round(rounds: Rounds) -> None:
    rounds.after(0)
    assert "has not confirmed it" in rounds.column("error")[0]


def settle(rounds: Rounds, wait_until: WaitUntil, state: str) -> None:
    """Make rounds until the first mail has this state."""

    def is_settled() -> bool:
        rounds.after(0)
        return bool(rounds.column("state")[0] == state)

    wait_until(is_settled, f"the state {state}")


def test_a_mail_that_is_confirmed_late_is_delivered_once(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    first_round(rounds)
    for _ in range(5):
        rounds.after(300)
    assert rounds.column("state") == ["waiting"]
    slow.released.set()
    settle(rounds, wait_until, "delivered")
    assert len(slow.copies) == 1
    assert rounds.column("error") == [None]
    assert caplog.messages == []


def test_other_mails_go_on_over_a_second_connection_while_one_is_not_confirmed(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    first_round(rounds)
    scripted_server.script = {}
    rounds.fail("two")
    rounds.after(1)
    assert rounds.column("state") == ["waiting", "delivered"]
    assert scripted_server.connections == 2
    slow.released.set()
    settle(rounds, wait_until, "delivered")


def test_at_most_three_confirmations_are_awaited_at_once(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    for number in range(2, 6):
        rounds.fail(str(number))
    for _ in range(3):
        rounds.after(1)
    assert len(slow.copies) == scripted_server.connections == 3
    slow.released.set()
    wait_until(lambda: rounds.after(0) or rounds.column("state") == ["delivered"] * 5, "all")
    assert len(slow.copies) == 5


@pytest.mark.parametrize("reply", [b"451 later\r\n", b"554 spam\r\n", b"421 closing\r\n"])
def test_a_late_refusal_is_no_attempt_that_may_have_delivered(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil, reply: bytes
) -> None:
    for _ in range(4):
        slow = SlowContent(reply)
        scripted_server.script = {"content": slow}
        rounds.after(300)
        slow.released.set()
        wait_until(
            lambda: rounds.after(0) or reply[:3].decode() in rounds.column("error")[0], "the reply"
        )
    assert rounds.column("state") == ["waiting"]
    scripted_server.script = {}
    rounds.after(300)
    assert rounds.column("state") == ["delivered"]
    assert len(scripted_server.mails) == 1


def test_a_mail_that_is_never_confirmed_is_sent_three_times_and_listed_as_probably_delivered(
    rounds: Any, scripted_server: Any, make_app: Callable[..., Flask]
) -> None:
    copies: list[bytes] = []

    def cut(connection: socket.socket, content: bytes) -> None:
        copies.append(content)
        connection.shutdown(socket.SHUT_RDWR)

    scripted_server.script = {"content": cut}
    for _ in range(10):
        rounds.after(300)
    assert len(copies) == 3
    assert len(set(copies)) == 1
    assert rounds.column("state") == ["delivered"]
    app = make_app(**scripted_server.settings, SPOOL_DIR=rounds.outbox.folder)
    listed = app.test_cli_runner().invoke(args=["reports", "list"])
    assert "Probably delivered, 3 attempts were not confirmed" in listed.output


def test_a_wait_that_is_over_counts_as_an_attempt(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_replies, "PATIENCE", 0.05)
    slow = SlowContent()
    scripted_server.script = {"content": slow}

    def is_delivered() -> bool:
        rounds.after(300)
        return bool(rounds.column("state") == ["delivered"])

    wait_until(is_delivered, "that it is given up", 20)
    assert len(slow.copies) == 3
    assert rounds.column("error")[0].startswith("Probably delivered")
    slow.released.set()


def test_a_stop_while_a_confirmation_is_awaited_leaves_a_mail_that_may_have_been_delivered(
    rounds: Any, scripted_server: Any
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    settings = rounds.round.settings
    for _ in range(6):
        rounds.after(300)
        rounds.round.close()
        rounds.begin(settings)
    slow.released.set()
    assert len(slow.copies) == 3
    assert rounds.column("state") == ["delivered"]
    assert rounds.column("error")[0].startswith("Probably delivered")


@pytest.mark.parametrize("reply", [b"\r\n", b"hello?\r\n", b"999 yes\r\n", b"354 go on\r\n"])
def test_a_reply_that_means_nothing_is_no_confirmation(
    rounds: Any, scripted_server: Any, reply: bytes
) -> None:
    scripted_server.script = {"content": reply}
    first_round(rounds)
    scripted_server.script = {}
    rounds.after(300)
    assert rounds.column("state") == ["delivered"]


def test_a_server_that_drips_its_confirmation_holds_up_no_other_mail(
    rounds: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    stopped = threading.Event()

    def drip(connection: socket.socket, content: bytes) -> bytes:
        with contextlib.suppress(OSError):
            while not stopped.wait(0.05):
                connection.sendall(b"250-and\r\n")
        return b"250 taken\r\n"

    scripted_server.script = {"content": drip}
    first_round(rounds)
    scripted_server.script = {}
    rounds.fail("two")
    rounds.after(1)
    assert rounds.column("state") == ["waiting", "delivered"]
    stopped.set()
    settle(rounds, wait_until, "delivered")
    assert len(scripted_server.mails) == 2
