"""Servers that receive a whole mail and confirm it late or never."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_mayday.courier import pending_replies
from tests.integration.mail.conftest import SimulatedCourier

WaitUntil = Callable[..., Any]


@pytest.fixture
def courier(make_courier: Callable[..., Any], scripted_server: Any) -> Any:
    """Return a courier for the scripted server, with one mail to send."""
    made = make_courier(**scripted_server.settings, MAIL_TIMEOUT=20)
    made.fail("one")
    return made


class SlowContent:
    """Confirms each mail only when a test releases it, and counts the copies of each."""

    def __init__(self, reply: bytes = b"") -> None:
        self.reply = reply
        self.released = threading.Event()
        self.copies: list[bytes] = []

    def __call__(self, connection: socket.socket, content: bytes) -> bytes:
        self.copies.append(content)
        assert self.released.wait(60)
        return self.reply


def first_delivery(courier: SimulatedCourier) -> None:
    courier.deliver_after(0)
    assert "has not confirmed it" in courier.column("error")[0]


def settle(courier: SimulatedCourier, wait_until: WaitUntil, state: str) -> None:
    """Run deliveries until the first mail is in ``state``."""

    def is_settled() -> bool:
        courier.deliver_after(0)
        return bool(courier.column("state")[0] == state)

    wait_until(is_settled, f"the state {state}")


def test_a_mail_confirmed_late_is_delivered_once(
    courier: Any, scripted_server: Any, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    first_delivery(courier)
    for _ in range(5):
        courier.deliver_after(300)
    assert courier.column("state") == ["waiting"]
    slow.released.set()
    settle(courier, wait_until, "delivered")
    assert len(slow.copies) == 1
    assert courier.column("error") == [None]
    assert caplog.messages == []


def test_other_mails_use_a_second_connection_while_one_is_unconfirmed(
    courier: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    first_delivery(courier)
    scripted_server.script = {}
    courier.fail("two")
    courier.deliver_after(1)
    assert courier.column("state") == ["waiting", "delivered"]
    assert scripted_server.connections == 2
    slow.released.set()
    settle(courier, wait_until, "delivered")


def test_at_most_three_confirmations_are_awaited_at_once(
    courier: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    for number in range(2, 6):
        courier.fail(str(number))
    for _ in range(3):
        courier.deliver_after(1)
    assert len(slow.copies) == scripted_server.connections == 3
    slow.released.set()
    wait_until(
        lambda: courier.deliver_after(0) or courier.column("state") == ["delivered"] * 5, "all"
    )
    assert len(slow.copies) == 5


@pytest.mark.parametrize("reply", [b"451 later\r\n", b"554 spam\r\n", b"421 closing\r\n"])
def test_a_late_refusal_does_not_count_as_a_possible_delivery(
    courier: Any, scripted_server: Any, wait_until: WaitUntil, reply: bytes
) -> None:
    for _ in range(4):
        slow = SlowContent(reply)
        scripted_server.script = {"content": slow}
        courier.deliver_after(300)
        slow.released.set()
        wait_until(
            lambda: courier.deliver_after(0) or reply[:3].decode() in courier.column("error")[0],
            "the reply",
        )
    assert courier.column("state") == ["waiting"]
    scripted_server.script = {}
    courier.deliver_after(300)
    assert courier.column("state") == ["delivered"]
    assert len(scripted_server.mails) == 1


def test_a_mail_that_is_never_confirmed_is_sent_a_few_times_and_is_probably_delivered(
    courier: Any, scripted_server: Any, make_app: Callable[..., Flask]
) -> None:
    """A server that closes the connection at the end of this mail, and confirms others."""
    copies: list[bytes] = []

    def cut(connection: socket.socket, content: bytes) -> bytes | None:
        if b"ValueError: two" in content:
            return b"250 taken\r\n"
        copies.append(content)
        connection.shutdown(socket.SHUT_RDWR)
        return None

    scripted_server.script = {"content": cut}
    courier.fail("two")
    for _ in range(10):
        courier.deliver_after(300)
    assert len(copies) == 4  # at the first one, the server had confirmed no mail yet
    assert len(set(copies)) == 1
    assert courier.column("state") == ["delivered"] * 2
    app = make_app(**scripted_server.settings, SPOOL_DIR=courier.outbox.folder)
    listed = app.test_cli_runner().invoke(args=["reports", "list"])
    assert "Probably delivered: the server confirmed none of 3 attempts" in listed.output


def test_a_server_that_closes_the_connection_at_every_mail_loses_none(
    courier: Any, scripted_server: Any
) -> None:
    def cut(connection: socket.socket, content: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    scripted_server.script = {"content": cut}
    for _ in range(10):
        courier.deliver_after(300)
    assert courier.column("state") == ["waiting"]
    scripted_server.script = {}
    courier.deliver_after(300)
    assert courier.column("state") == ["delivered"]
    assert len(scripted_server.mails) == 1


def test_an_expired_wait_for_confirmation_counts_as_an_attempt(
    courier: Any, scripted_server: Any, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_replies, "PATIENCE", 0.05)
    slow = SlowContent()
    scripted_server.script = {"content": slow}

    def is_delivered() -> bool:
        courier.deliver_after(300)
        return bool(courier.column("state") == ["delivered"])

    wait_until(is_delivered, "that it is given up")
    assert len(slow.copies) == 3
    assert courier.column("error")[0].startswith("Probably delivered")
    slow.released.set()


def test_a_stop_during_a_wait_for_confirmation_counts_as_a_possible_delivery(
    courier: Any, scripted_server: Any
) -> None:
    slow = SlowContent()
    scripted_server.script = {"content": slow}
    settings = courier.settings
    for _ in range(6):
        courier.deliver_after(300)
        courier.delivery.close()
        courier.start_delivery(settings)
    slow.released.set()
    assert len(slow.copies) == 3
    assert courier.column("state") == ["delivered"]
    assert courier.column("error")[0].startswith("Probably delivered")


@pytest.mark.parametrize("reply", [b"\r\n", b"hello?\r\n", b"999 yes\r\n", b"354 go on\r\n"])
def test_an_invalid_reply_is_not_a_confirmation(
    courier: Any, scripted_server: Any, reply: bytes
) -> None:
    scripted_server.script = {"content": reply}
    first_delivery(courier)
    scripted_server.script = {}
    courier.deliver_after(300)
    assert courier.column("state") == ["delivered"]


def test_a_confirmation_sent_in_drips_delays_no_other_mail(
    courier: Any, scripted_server: Any, wait_until: WaitUntil
) -> None:
    stopped = threading.Event()

    def drip(connection: socket.socket, content: bytes) -> bytes:
        with contextlib.suppress(OSError):
            while not stopped.wait(0.05):
                connection.sendall(b"250-and\r\n")
        return b"250 taken\r\n"

    scripted_server.script = {"content": drip}
    first_delivery(courier)
    scripted_server.script = {}
    courier.fail("two")
    courier.deliver_after(1)
    assert courier.column("state") == ["waiting", "delivered"]
    stopped.set()
    settle(courier, wait_until, "delivered")
    assert len(scripted_server.mails) == 2
