"""The mails of a machine that has agreed with the others what to mail."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest

from flask_mayday.agreement.question import SUMMARY, Answer, Claim, Question, Tally
from flask_mayday.courier.messages import MessageWriter
from flask_mayday.courier.planner import Planner
from flask_mayday.courier.shared_mails import SharedMails
from flask_mayday.courier.shared_planner import SharedPlanner
from flask_mayday.settings import AgreementSettings, Settings, read_settings
from flask_mayday.spool import groups
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_mail, a_report

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


def test_a_claim_whose_mail_was_sent_is_forgotten(known: Settings, mailbox: Mailbox) -> None:
    writer = MessageWriter(mailbox, mail=known.mail, webhook=known.webhook)
    planner = Planner(mailbox, writer, known.reports, known.app)
    agreement = AgreementSettings("postgresql://nobody@127.0.0.1:1/x", node="one")
    shared = SharedPlanner(mailbox, writer, planner, agreement, known.reports, known.app)
    shared.mails.apply(Answer(claims=[Claim(8, SUMMARY, 0)]), START)  # makes no mail
    shared._learn(Question(), Answer(claims=[Claim(7, "1a", 0), Claim(8, SUMMARY, 0)]))
    shared.handovers.add_claim(a_mail(mailbox, "1a", "waiting"), 7, None)
    shared.after_sending()
    assert shared._renewed.keys() == {7}
    mailbox.connection.execute("DELETE FROM claims")  # as confirm() does
    shared.after_sending()
    assert shared._renewed == {}


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
