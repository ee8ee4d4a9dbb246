"""The mails of a machine that has agreed with the others what to mail."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest

from flask_mayday.agreement.question import SUMMARY, Answer, Claim, Tally
from flask_mayday.courier.messages import MessageWriter
from flask_mayday.courier.shared_mails import SharedMails
from flask_mayday.settings import Settings, read_settings
from flask_mayday.spool import groups
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_report

START = 1_767_225_600.0  # 2026-01-01


@pytest.fixture
def known(settings: dict[str, object], mail_settings: dict[str, object]) -> Settings:
    return read_settings({**settings, **mail_settings, "NODE_NAME": "one"}, environ={})


@pytest.fixture
def mailbox(known: Settings) -> Iterator[Mailbox]:
    outbox = Outbox(known.spool.folder, known.spool.max_bytes)
    made = Mailbox(outbox)
    yield made
    made.close()
    outbox.close()


def test_a_summary_says_which_of_its_errors_came_back(known: Settings, mailbox: Mailbox) -> None:
    def fail(time: float) -> None:
        report = a_report("boom", fingerprint="1a", time=time, type="ValueError")
        mailbox.outbox.put(report, mailable=True)
        mailbox.take_incoming()

    fail(START)
    group = groups.load(mailbox, "1a")
    assert group is not None
    group.resolve(START + 1, "")
    groups.save(mailbox, [group])
    fail(START + 2)
    writer = MessageWriter(mailbox, mail=known.mail, webhook=known.webhook)
    tally = Tally("1a", 0, 1, START + 2, START + 2, "ValueError: boom", "one")
    claim = Claim(7, SUMMARY, 0, (tally,))
    SharedMails(mailbox, writer, known.app, 60).apply(Answer(claims=[claim]), START + 3)
    (content,) = mailbox.column("SELECT content FROM mails WHERE kind = 'summary'")
    message: Any = message_from_bytes(content, policy=policy.default)
    assert "back" in message.get_body(("plain",)).get_content()
