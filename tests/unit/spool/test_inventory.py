"""What is read of the spool without being its courier."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from flask_mayday.spool.inventory import Inventory, mail_of_request, mail_state
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_mail, a_report


def test_a_folder_with_url_characters_in_its_name_can_be_read(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "50% of?all#mine", 1 << 20)
    assert mail_state(outbox.path) == (None, 0, "")
    assert mail_of_request(outbox.path, "e" * 32) is None
    outbox.put(a_report(request_id="e" * 32), mailable=True)
    with closing(Mailbox(outbox)) as mailbox:
        mailbox.take_incoming()
        a_mail(mailbox, "f", "waiting", created=7.0)
    assert mail_state(outbox.path) == (7.0, 0, "")
    assert mail_of_request(outbox.path, "e" * 32) == b"x" * 10


@pytest.mark.parametrize("state", ["failed", "delivered"])
def test_a_mail_that_is_sent_again_by_hand_waits_from_then_on(tmp_path: Path, state: str) -> None:
    outbox = Outbox(tmp_path, 1 << 20)
    with closing(Mailbox(outbox)) as mailbox, closing(Inventory(outbox.path)) as inventory:
        number = a_mail(mailbox, "f", state, created=7.0)
        before = time.time()
        inventory.retry(("a@b.example",))
        inventory.resend(("a@b.example",), (number,), float("inf"))
        assert before <= (inventory.waiting_since() or 0.0) <= time.time()
