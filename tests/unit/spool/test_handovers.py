"""Errors that are handed over to the agreement of several machines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_mayday.spool import retention
from flask_mayday.spool.handovers import Handovers, KnownWindow
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_new_mail, a_report

NOW = 1_767_225_600.0


@pytest.fixture
def mailbox(outbox: Outbox, mailbox_of: Callable[[], Mailbox]) -> Mailbox:
    for number in range(5):
        outbox.put(a_report(time=NOW + number), mailable=True)
    opened = mailbox_of()
    opened.take_incoming()
    return opened


@pytest.fixture
def handovers(mailbox: Mailbox) -> Handovers:
    return Handovers(mailbox)


def pending(mailbox: Mailbox) -> int:
    return mailbox.pending_span("f")[1]


def test_errors_that_are_handed_over_are_counted_and_no_longer_pending(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.hand_over("f", 7, NOW)
    assert pending(mailbox) == 0
    ((fingerprint, window, number, first, last, title),) = handovers.tallies()
    assert (fingerprint, window, number, first, last) == ("f", 7, 5, NOW, NOW + 4)
    assert "boom" in title


def test_handing_over_again_adds_to_the_same_count(
    outbox: Outbox, mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.hand_over("f", 7, NOW)
    outbox.put(a_report(time=NOW + 9), mailable=True)
    mailbox.take_incoming()
    handovers.hand_over("f", 7, NOW)
    assert [row[2] for row in handovers.tallies()] == [6]


def test_errors_missing_from_another_machines_mail_are_pending_again(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.hand_over("f", 7, NOW)
    handovers.close("f", 7, successor=8, number=3)
    assert pending(mailbox) == 2
    assert handovers.tallies() == []
    assert handovers.awaited() == [8]


def test_it_counts_as_delivered_only_when_that_mail_is_sent(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.hand_over("f", 7, NOW)
    handovers.close("f", 7, successor=8, number=5)
    states = "SELECT state FROM mails WHERE kind = 'elsewhere'"
    assert mailbox.column(states) == ["elsewhere"]
    handovers.finish([8])
    assert mailbox.column(states) == ["delivered"]
    assert handovers.awaited() == []


def test_deliveries_by_another_machine_do_not_count_for_this_one(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    mailbox.add_mail(a_new_mail(message_id="<mine@example.com>"))
    (mail,) = mailbox.due(NOW, 1.0)
    handovers.hand_over("f", 7, NOW)
    handovers.close("f", 7, successor=8, number=5)
    handovers.finish([8])
    assert mailbox.column("SELECT kind FROM mails WHERE state = 'delivered'") == ["elsewhere"]
    assert not mailbox.has_delivered_since(mail)
    mailbox.finish(mail, "delivered")
    assert mailbox.has_delivered_since(mail)


def test_errors_of_a_forgotten_window_are_pending_again(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.hand_over("f", 7, NOW)
    handovers.close("f", 7, successor=8, number=5)
    handovers.release([8])
    assert pending(mailbox) == 5


def test_a_digest_that_another_machine_took_over_waits_for_it(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    mail_id = mailbox.add_mail(a_new_mail(kind="digest"))
    mailbox.assign_first(mail_id, "f", 5)
    handovers.add_claim(mail_id, 8, 7)
    handovers.lose(mail_id)
    assert handovers.mine() == {}
    assert handovers.awaited() == [8]
    assert pending(mailbox) == 0


def test_a_report_whose_mail_another_machine_took_over_is_pending_again(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    mail_id = mailbox.add_mail(a_new_mail())
    mailbox.assign_first(mail_id, "f", 1)
    handovers.add_claim(mail_id, 8, None)
    handovers.lose(mail_id)
    assert pending(mailbox) == 5


def test_a_machine_that_agrees_with_no_other_takes_everything_back(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.note_window("f", 7, NOW, is_sent=False)
    handovers.hand_over("f", 7, NOW)
    handovers.forget()
    assert pending(mailbox) == 5
    assert handovers.window("f") is None


def test_a_window_that_another_machine_opened_holds_here_too(
    mailbox: Mailbox, handovers: Handovers
) -> None:
    handovers.note_window("f", 7, NOW + 5, is_sent=True)
    assert handovers.window("f") == KnownWindow(7, NOW + 5)
    (errors,) = mailbox.pending_errors(NOW + 10)
    assert errors.last_mail == NOW + 5
    assert mailbox.last_mail("f", NOW + 10) == NOW + 5


def test_errors_evicted_after_their_handover_count_as_dropped(
    outbox: Outbox, mailbox: Mailbox, handovers: Handovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    handovers.hand_over("f", 7, NOW)
    monkeypatch.setattr(retention, "NEARLY_FULL", 0.0)
    monkeypatch.setattr(retention, "EVICT_TO", 0.0)
    retention.evict(mailbox, NOW)
    assert mailbox.counter("dropped") == 5
