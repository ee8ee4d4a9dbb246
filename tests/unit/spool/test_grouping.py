"""Reports are counted in their groups as they are inserted, and hidden where they are to be."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from flask_mayday.report.report import Report
from flask_mayday.spool import groups
from flask_mayday.spool.database import Database
from flask_mayday.spool.error_group import MUTED, ErrorGroup
from flask_mayday.spool.grouping import hide_matching, hide_pending
from flask_mayday.spool.ignore_rules import IgnoreRule, add_rule, ignore_rules
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.recovery import quarantine, recover
from tests.support.reports import a_report

REQUEST = {"method": "GET", "route": "/user/<name>", "path": "/user/susan"}


@pytest.fixture
def mailbox(mailbox_of: Callable[[], Mailbox]) -> Mailbox:
    return mailbox_of()


@pytest.fixture
def record(outbox: Outbox, mailbox: Mailbox) -> Callable[..., None]:
    def record(*reports: Report) -> None:
        for report in reports:
            outbox.put(report, mailable=True)
        mailbox.take_incoming()

    return record


def group_of(mailbox: Database, fingerprint: str = "f") -> ErrorGroup:
    group = groups.load(mailbox, fingerprint)
    assert group is not None
    return group


def pending(mailbox: Mailbox) -> list[str]:
    return [errors.fingerprint for errors in mailbox.pending_errors(time.time())]


def test_a_report_that_arrives_twice_is_counted_once(
    outbox: Outbox, mailbox: Mailbox, record: Callable[..., None]
) -> None:
    report = a_report(uuid="u")
    record(report, report)
    record(report)
    assert group_of(mailbox).count == 1


def test_reports_that_an_earlier_version_inserts_are_counted(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    """Old and new containers share the spool during a rolling update."""
    record(a_report("by this version"))
    for number in range(450):
        mailbox.connection.execute(
            "INSERT INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
            " VALUES (?, 7.0, 'old', NULL, ?, 1)",
            (f"old {number}", a_report("old", release="0.9", time=7.0).to_json()),
        )
    record(a_report("by this version"))
    old = group_of(mailbox, "old")
    assert (old.count, old.first_seen, old.first_release) == (450, 7.0, "0.9")
    assert group_of(mailbox).count == 2


def test_a_muted_error_is_recorded_counted_and_not_pending(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report(), a_report())
    group = group_of(mailbox)
    group.mute(time.time())
    hide_pending(mailbox, group, MUTED)
    groups.save(mailbox, [group])
    record(a_report(), a_report(fingerprint="other"))
    assert pending(mailbox) == ["other"]
    assert (group_of(mailbox).count, group_of(mailbox).hidden) == (3, 3)
    rows = mailbox.connection.execute("SELECT hidden, count(*) FROM reports GROUP BY 1")
    assert dict(rows.fetchall()) == {None: 1, "muted": 3}


RULES = [
    ({"exception": "ValueError"}, True),
    ({"exception": "Value*"}, True),
    ({"exception": "Error"}, False),
    ({"logger": "shop.*"}, True),
    ({"logger": "app"}, False),
    ({"route": "/user/*"}, True),
    ({"route": "GET /user/<name>"}, True),
    ({"route": "POST *"}, False),
    ({"message": "*[7]*"}, True),
    ({"message": "boom"}, False),
    ({"message": "boom ?7?"}, True),
    ({"exception": "ValueError", "route": "/other"}, False),
    ({"exception": "ValueError", "route": "/user/*", "message": "boom*"}, True),
]


@pytest.mark.parametrize(("patterns", "matches"), RULES)
def test_a_rule_hides_what_matches_all_of_its_patterns(
    mailbox: Mailbox, record: Callable[..., None], patterns: dict[str, str], matches: bool
) -> None:
    add_rule(mailbox, IgnoreRule(0, 1.0, **patterns))  # type: ignore[arg-type]
    known = {"type": "ValueError", "logger": "shop.cart", "request": REQUEST}
    record(a_report("boom [7]", **known, where="at GET /user/<name>", time=5.0))
    (rule,) = ignore_rules(mailbox)
    assert (rule.hidden, rule.last_hidden) == ((1, 5.0) if matches else (0, None))
    assert pending(mailbox) == ([] if matches else ["f"])
    assert (group_of(mailbox).count, group_of(mailbox).hidden) == (1, int(matches))


def test_a_route_is_not_looked_for_in_an_error_without_a_request() -> None:
    rule = IgnoreRule(0, 1.0, route="*shop*")
    assert not rule.matches(a_report(where="in shop"))


def test_a_new_rule_hides_errors_that_wait_for_a_digest(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report("one"), a_report("two"), a_report("one"))
    rule = IgnoreRule(0, 1.0, message="one")
    rule.id = add_rule(mailbox, rule)
    assert hide_matching(mailbox, rule) == 2
    assert mailbox.pending_span("f")[1] == 1
    assert group_of(mailbox).hidden == 2
    assert ignore_rules(mailbox)[0].hidden == 2


def test_a_pattern_takes_no_longer_for_a_text_that_nearly_matches() -> None:
    rule = IgnoreRule(0, 1.0, message="*a" * 100 + "b")
    began = time.thread_time()
    assert not rule.matches(a_report("a" * 8000))
    assert time.thread_time() - began < 1  # exponential time would be years


def test_texts_that_sqlite_does_not_take_stop_nothing(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    bad = "\udce9\x00"
    record(a_report(bad, type=bad, logger=bad, release=bad, former=(bad,)))
    assert group_of(mailbox).count == 1


# Fingerprints


def test_any_number_of_former_fingerprints_is_looked_up(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    mailbox.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)  # the names are more
    record(a_report(fingerprint="1old"))
    former = ("1old", *map(str, range(2000)))
    record(*(a_report(fingerprint=f"2new{number}", former=former) for number in range(100)))
    assert group_of(mailbox, "1old").count == 2


def test_an_error_whose_fingerprint_changes_stays_in_its_group(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report(fingerprint="1old"))
    record(a_report(fingerprint="2new", former=("1old",)), a_report(fingerprint="1old"))
    assert group_of(mailbox, "1old").count == 3
    assert groups.load(mailbox, "2new") is None
    assert pending(mailbox) == ["1old"]
    assert [one.fingerprint for one in groups.matching(mailbox, "2ne")] == ["1old"]


def test_if_a_group_splits_only_the_first_error_stays_in_it(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report(fingerprint="1old"))
    for fingerprint in ("2first", "2second", "2first", "2second"):
        record(a_report(fingerprint=fingerprint, former=("1old",)))
    assert group_of(mailbox, "1old").count == 3
    assert group_of(mailbox, "2second").count == 2


def test_an_error_that_joins_two_groups_is_not_new(
    mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report(fingerprint="1a"), a_report(fingerprint="1b"))
    record(a_report(fingerprint="2ab", former=("1a",)), a_report(fingerprint="2ab", former=("1b",)))
    assert group_of(mailbox, "1a").count == 3


# A damaged database


def test_states_rules_and_aliases_survive_a_replaced_database(
    outbox: Outbox, mailbox: Mailbox, record: Callable[..., None]
) -> None:
    record(a_report(fingerprint="1muted"), a_report(fingerprint="1resolved"))
    record(a_report(fingerprint="2muted", former=("1muted",)))
    muted, resolved = group_of(mailbox, "1muted"), group_of(mailbox, "1resolved")
    muted.mute(1.0)
    resolved.resolve(2.0, "1.4")
    groups.save(mailbox, [muted, resolved])
    add_rule(mailbox, IgnoreRule(0, 1.0, logger="noise"))
    mailbox.close()
    quarantine(outbox.path)
    with closing(Mailbox(outbox)) as replaced:
        recover(replaced)
        outbox.put(a_report(fingerprint="2muted", former=("1muted",)), mailable=True)
        outbox.put(a_report(logger="noise"), mailable=True)
        replaced.take_incoming()
        assert (group_of(replaced, "1muted").count, group_of(replaced, "1muted").hidden) == (3, 1)
        assert group_of(replaced, "1resolved").resolved_release == "1.4"
        assert ignore_rules(replaced)[0].hidden == 1
