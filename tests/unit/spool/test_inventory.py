"""What is read of the spool without being its courier."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from flask_mayday.spool.inventory import mail_of_request, mail_state
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
