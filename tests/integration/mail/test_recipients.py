"""Many administrators, and servers that take few recipients in one transaction."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

ADMINS = [f"admin{number}@microblog.example" for number in range(50)]


class Limit:
    """Accepts ``most`` recipients in each transaction and refuses the others."""

    def __init__(self, most: int, refusal: bytes) -> None:
        self.most, self.refusal, self.count = most, refusal, 0

    def mail(self, connection: socket.socket, address: str) -> bytes:
        self.count = 0
        return b""

    def rcpt(self, connection: socket.socket, address: str) -> bytes:
        self.count += 1
        return b"" if self.count <= self.most else self.refusal


@pytest.fixture
def courier(make_courier: Callable[..., Any], scripted_server: Any) -> Any:
    """Return a courier with one mail for fifty administrators."""
    made = make_courier(**scripted_server.settings | {"ADMINS": ",".join(ADMINS)})
    made.fail("one")
    return made


def times_received(server: Any) -> Counter[str]:
    return Counter(address for recipients, _ in server.mails for address in recipients)


@pytest.mark.parametrize(
    "refusal",
    [
        b"552 Too many recipients\r\n",
        b"452 4.5.3 Too many recipients\r\n",
        b"452 Too many recipients\r\n",
        b"550 5.5.3 too many\r\n",
    ],
)
@pytest.mark.parametrize("most", [1, 10, 49])
def test_each_of_fifty_administrators_gets_the_mail_once(
    courier: Any, scripted_server: Any, caplog: pytest.LogCaptureFixture, most: int, refusal: bytes
) -> None:
    limit = Limit(most, refusal)
    scripted_server.script = {"MAIL": limit.mail, "RCPT": limit.rcpt}
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"]
    assert times_received(scripted_server) == Counter(ADMINS)
    assert len(scripted_server.mails) == -(-50 // most)
    assert scripted_server.connections == 1
    assert caplog.messages == []


def test_after_a_failed_transaction_only_recipients_without_the_mail_are_retried(
    courier: Any, scripted_server: Any
) -> None:
    limit = Limit(20, b"552 Too many recipients\r\n")

    def refuse_second(connection: socket.socket, content: bytes) -> bytes:
        return b"451 later\r\n" if len(scripted_server.mails) == 1 else b""

    scripted_server.script = {"MAIL": limit.mail, "RCPT": limit.rcpt, "content": refuse_second}
    courier.deliver_after(0)
    assert courier.recipients() == [ADMINS[20:]]
    del scripted_server.script["content"]
    courier.deliver_after(300)
    assert courier.column("state") == ["delivered"]
    assert times_received(scripted_server) == Counter(ADMINS)


def test_an_unconfirmed_transaction_is_sent_again_to_its_recipients(
    courier: Any, scripted_server: Any
) -> None:
    limit = Limit(20, b"552 Too many recipients\r\n")

    cut: list[bytes] = []

    def cut_second(connection: socket.socket, content: bytes) -> None:
        if len(scripted_server.mails) == 1 and len(cut) < 3:
            cut.append(content)
            connection.shutdown(socket.SHUT_RDWR)

    scripted_server.script = {"MAIL": limit.mail, "RCPT": limit.rcpt, "content": cut_second}
    courier.deliver_after(0)
    assert courier.recipients() == [ADMINS[20:]]
    for _ in range(5):
        courier.deliver_after(300)
    assert courier.column("state") == ["delivered"]
    # The recipients of the unconfirmed transaction have probably received it.
    assert times_received(scripted_server) == Counter(ADMINS[:20] + ADMINS[40:])


def test_a_full_mailbox_refuses_only_that_recipient(courier: Any, scripted_server: Any) -> None:
    def full(connection: socket.socket, address: str) -> bytes:
        return b"552 5.2.2 mailbox full\r\n" if address == ADMINS[7] else b""

    scripted_server.script = {"RCPT": full}
    courier.deliver_after(0)
    assert courier.column("state") == ["delivered"]
    assert times_received(scripted_server) == Counter(set(ADMINS) - {ADMINS[7]})
    assert "has a mailbox that is full or closed" in courier.column("error")[0]


def test_a_temporarily_refused_first_recipient_does_not_block_the_others(
    courier: Any, scripted_server: Any
) -> None:
    def refuse(connection: socket.socket, address: str) -> bytes:
        return b"452 no space\r\n" if address == ADMINS[3] else b""

    scripted_server.script = {"RCPT": refuse}
    courier.deliver_after(0)
    assert courier.recipients() == [[ADMINS[3]]]
    scripted_server.script = {}
    courier.deliver_after(300)
    assert times_received(scripted_server) == Counter(ADMINS)
