"""The figures of a spool: what waits, since when, and what has become of the rest."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import pytest

from flask_mayday.spool.error_group import State
from flask_mayday.spool.figures import Waiting, read_figures
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.stored_mail import StoredMail
from tests.support.reports import a_new_mail, a_report

MailboxOf = Callable[[], Mailbox]


def test_a_spool_that_was_never_used_has_only_zeros(outbox: Outbox) -> None:
    figures = read_figures(outbox)
    assert set(figures.waiting.values()) == {Waiting(0, None)}
    assert figures.groups == figures.errors == dict.fromkeys(State, 0)


def test_each_stage_of_a_report_is_counted(outbox: Outbox, mailbox_of: MailboxOf) -> None:
    before = time.time()
    outbox.put(a_report(time=before - 60), mailable=True)
    figures = read_figures(outbox)
    assert figures.waiting["file"].count == 1
    assert (figures.waiting["file"].since or 0) >= before - 1
    mailbox = mailbox_of()
    mailbox.take_incoming()
    figures = read_figures(outbox)
    assert figures.waiting["file"] == Waiting(0, None)
    assert figures.waiting["report"] == Waiting(1, before - 60)
    assert (figures.groups[State.NEW], figures.errors[State.NEW]) == (1, 1)
    number = mailbox.add_mail(a_new_mail(created=before - 30))
    mailbox.assign(number, "f", 1 << 60)
    figures = read_figures(outbox)
    assert figures.waiting["report"] == Waiting(0, None)
    assert figures.waiting["mail"] == Waiting(1, before - 30)
    assert figures.bytes > 0


def test_mails_that_were_sent_are_counted_for_ever(outbox: Outbox, mailbox_of: MailboxOf) -> None:
    mailbox = mailbox_of()
    for state in ("delivered", "delivered", "failed"):
        number = mailbox.add_mail(a_new_mail())
        mailbox.finish(StoredMail(number, b"", (), 0), state)
    mailbox.connection.execute("DELETE FROM mails")
    counters = read_figures(outbox).counters
    assert counters == {"mails_delivered": 2, "mails_refused": 1, "posts_delivered": 0}


def test_a_damaged_database_is_an_error(outbox: Outbox) -> None:
    outbox.folder.mkdir(parents=True)
    outbox.path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.Error):
        read_figures(outbox)
