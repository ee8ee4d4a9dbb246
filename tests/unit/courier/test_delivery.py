"""A delivery: which errors are mailed at once, counted or held, and when."""

from __future__ import annotations

import os
import random
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from typing import Any

import pytest

from flask_mayday.courier import smtp_session as smtp
from flask_mayday.courier.backoff import MAX_BACKOFF, backoff
from flask_mayday.courier.delivery import Delivery
from flask_mayday.mail import draft as drafts
from flask_mayday.mail.draft import Draft
from flask_mayday.report.report import Report
from flask_mayday.settings import Settings, read_settings
from flask_mayday.spool import groups, retention
from flask_mayday.spool.database import LeaseLostError
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_report

START = 1_767_225_600.0  # 2026-01-01
WINDOW = 300
CAP = 5


class Post:
    """An outbox, its deliveries, and a simulated clock."""

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.settings = settings
        self.outbox = outbox
        self.now = START
        self.mailbox = Mailbox(outbox)
        self.delivery = self.deliver_with(settings)

    def deliver_with(self, settings: Settings) -> Delivery:
        groups = {"mail": settings.mail, "reports": settings.reports, "app": settings.app}
        return Delivery(self.mailbox, **groups, stopping=threading.Event())  # type: ignore[arg-type]

    def report(self, kind: str = "a", **fields: object) -> Report:
        known = {"time": self.now, "fingerprint": kind, "type": "ValueError", "where": "in test"}
        known |= {"logger": kind}  # each kind has a source of its own
        known |= {"request_id": uuid.uuid4().hex, "message": f"boom {kind}"}
        return a_report(**{**known, **fields})

    def record(self, report: Report, *, mailable: bool = True) -> None:
        self.outbox.put(report, mailable=mailable)
        self.mailbox.take_incoming()

    def fail(self, kind: str = "a", times: int = 1) -> None:
        for _ in range(times):
            self.outbox.put(self.report(kind), mailable=True)
        self.mailbox.take_incoming()

    def plan(self) -> None:
        self.delivery.planner.plan(self.now)

    def at(self, seconds: float) -> None:
        """Plan as if ``seconds`` had passed since the start."""
        self.now = START + seconds
        self.plan()

    def mails(self) -> list[tuple[str, str | None, int]]:
        rows = self.mailbox.connection.execute("SELECT kind, fingerprint, count FROM mails")
        return rows.fetchall()

    def contents(self) -> list[Any]:
        rows = self.mailbox.connection.execute("SELECT content FROM mails ORDER BY id")
        return [message_from_bytes(row[0], policy=policy.default) for row in rows]  # type: ignore[arg-type]

    def counted(self) -> int:
        return sum(count for _, _, count in self.mails())

    def unmailed(self) -> int:
        pending = self.mailbox.pending_errors(self.now)
        return sum(self.mailbox.pending_span(errors.fingerprint)[1] for errors in pending)


@pytest.fixture
def post(settings: dict[str, object], mail_settings: dict[str, object]) -> Iterator[Post]:
    read = read_settings(
        {
            **settings,
            **mail_settings,
            "REPORT_WINDOW": WINDOW,
            "REPORT_MAILS_PER_HOUR": CAP,
            "REPORT_KEEP_DAYS": 30,
        }
    )
    outbox = Outbox(read.spool.folder, read.spool.max_bytes)
    made = Post(read, outbox)
    yield made
    made.mailbox.close()
    outbox.close()


# Windows


def test_an_error_is_mailed_at_once(post: Post) -> None:
    post.fail()
    post.at(0)
    assert post.mails() == [("report", "a", 1)]


def test_repeats_are_counted_until_the_window_is_over(post: Post) -> None:
    post.fail(times=1000)
    post.at(0)
    assert post.mails() == [("report", "a", 1)]
    post.at(WINDOW - 1)
    assert post.mails() == [("report", "a", 1)]
    post.at(WINDOW)
    assert post.mails() == [("report", "a", 1), ("digest", "a", 999)]
    assert post.unmailed() == 0


def test_a_digest_counts_all_errors_until_it_is_created(post: Post) -> None:
    post.fail()
    post.at(0)
    for second in range(1, WINDOW):
        post.now = START + second
        post.fail()
        post.plan()
    post.at(WINDOW)
    assert post.mails() == [("report", "a", 1), ("digest", "a", WINDOW - 1)]


def test_a_digest_starts_a_window_of_its_own(post: Post) -> None:
    for second in (0, 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1):
        post.now = START + second
        post.fail()
        post.plan()
    assert post.mails() == [("report", "a", 1), ("digest", "a", 2)]
    post.at(2 * WINDOW)
    assert post.mails() == [("report", "a", 1), ("digest", "a", 2), ("digest", "a", 2)]


def test_an_error_that_comes_back_after_a_quiet_window_is_mailed_at_once(post: Post) -> None:
    post.fail()
    post.at(0)
    post.now = START + WINDOW
    post.fail(times=3)
    post.plan()
    assert post.mails() == [("report", "a", 1), ("report", "a", 1)]
    post.at(2 * WINDOW)
    assert post.mails()[2:] == [("digest", "a", 2)]


def test_a_digest_of_repeats_has_the_traceback_of_the_first_error(post: Post) -> None:
    whole = post.report(traceback="Traceback (most recent call last):\n  the very frames")
    post.record(whole)
    post.at(0)
    for _ in range(2):
        repeat = post.report(traceback=f"The same as in report {whole.uuid}.", like=whole.uuid)
        post.record(repeat)
    post.at(WINDOW)
    digest = post.contents()[1]
    assert "the very frames" in digest.get_body(("plain",)).get_content()
    assert digest["X-Request-ID"] != post.contents()[0]["X-Request-ID"]


def test_a_repeat_without_its_full_report_names_it(post: Post) -> None:
    post.record(post.report(traceback="The same as in report x.", like="x"))
    post.at(0)
    (mail,) = post.contents()
    assert "The same as in report x." in mail.get_body(("plain",)).get_content()


def test_without_new_errors_there_is_no_mail(post: Post) -> None:
    post.fail()
    for second in range(0, 10 * WINDOW, 50):
        post.at(second)
    assert post.mails() == [("report", "a", 1)]


def test_different_errors_have_separate_windows(post: Post) -> None:
    post.fail("a", 2)
    post.at(0)
    post.fail("b", 2)
    post.at(100)
    post.at(WINDOW)
    post.at(WINDOW + 99)
    assert post.mails() == [("report", "a", 1), ("report", "b", 1), ("digest", "a", 1)]
    post.at(WINDOW + 100)
    assert post.mails()[3:] == [("digest", "b", 1)]


def test_a_clock_that_was_set_back_does_not_stop_the_mails(post: Post) -> None:
    post.fail()
    post.at(0)
    post.fail()
    post.at(-86_400)
    assert len(post.mails()) == 2


def test_a_clock_that_was_set_back_makes_no_flood(post: Post) -> None:
    """Mails dated in the future do not count as the last one."""
    for kind in range(CAP + 1):
        post.fail(f"kind {kind}")
    post.at(0)
    assert len(post.mails()) == CAP + 1  # and a summary
    for second in range(100):
        post.fail("equal")
        post.at(second - 86_400)
    assert post.mails()[CAP + 1 :] == [("report", "equal", 1)]
    for second in range(100):
        for kind in range(2 * CAP):
            post.fail(f"kind {second} {kind}")
        post.at(second - 80_000)
    assert [mail[0] for mail in post.mails()[CAP + 2 :]].count("summary") == 1


def test_unreadable_files_do_not_stop_the_mails(
    post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not yours")

    post.fail()
    monkeypatch.setattr(post.mailbox.outbox.incoming, "take", refuse)
    for _ in range(3):
        post.delivery.run(START)
    assert post.mails() == [("report", "a", 1)]
    assert caplog.text.count("check the owner of the files: not yours") == 1


def test_mails_of_one_error_make_a_thread(post: Post) -> None:
    post.fail("b")
    post.fail("a", 2)
    post.at(0)
    post.at(WINDOW)
    other, first, second = post.contents()
    assert "References" not in first
    assert second["References"] == first["Message-ID"]
    assert len({mail["Message-ID"] for mail in (other, first, second)}) == 3
    assert first["Message-ID"].endswith("@microblog.example>")


def test_the_number_in_the_header_is_the_number_in_the_spool(post: Post) -> None:
    post.fail("a", 1000)
    post.at(0)
    post.at(WINDOW)
    counts = [int(mail["X-Error-Count"]) for mail in post.contents()]
    assert counts == [1, 999]


def test_a_digest_names_some_request_ids(post: Post) -> None:
    post.fail("a", 100)
    post.at(0)
    post.at(WINDOW)
    text = post.contents()[1].get_body(("plain",)).get_content()
    rows = post.mailbox.connection.execute(
        "SELECT request_id FROM reports WHERE mailable ORDER BY id"
    ).fetchall()
    assert sum(request_id in text for (request_id,) in rows[1:]) == 20


# The hourly cap


def test_mails_of_different_errors_are_limited_per_hour(post: Post) -> None:
    for kind in range(20):
        post.fail(f"kind {kind}", 2)
    post.at(0)
    assert [kind for kind, _, _ in post.mails()] == ["report"] * CAP + ["summary"]
    assert post.mails()[-1] == ("summary", None, 30)


def test_digests_count_as_mails_too(post: Post) -> None:
    for kind in range(CAP):
        post.fail(f"kind {kind}", 2)
    post.at(0)
    assert len(post.mails()) == CAP
    post.at(WINDOW)
    assert post.mails()[CAP:] == [("summary", None, CAP)]


def test_there_is_one_summary_a_window_while_anything_is_held_back(post: Post) -> None:
    for second in range(2 * WINDOW):
        post.now = START + second
        post.fail(f"kind {second}")
        post.plan()
    kinds = [kind for kind, _, _ in post.mails()]
    assert kinds == ["report"] * CAP + ["summary"] * 2
    post.at(2 * WINDOW + CAP)
    assert post.counted() == 2 * WINDOW


def test_there_is_no_summary_if_no_error_is_held(post: Post) -> None:
    for kind in range(CAP):
        post.fail(f"kind {kind}")
    for second in range(0, 2 * WINDOW, 10):
        post.at(second)
    assert [kind for kind, _, _ in post.mails()] == ["report"] * CAP


def test_the_hourly_cap_uses_a_rolling_hour(post: Post) -> None:
    for kind in range(CAP):
        post.now = START + kind * 600
        post.fail(f"kind {kind}")
        post.plan()
    post.now = START + 3599
    post.fail("late")
    post.plan()
    assert post.mails()[CAP:] == [("summary", None, 1)]
    post.now = START + 3600
    post.fail("later")
    post.plan()
    assert post.mails()[CAP + 1 :] == [("report", "later", 1)]


def test_every_error_of_a_busy_day_is_counted_once(post: Post) -> None:
    """A day of errors in bursts, of few and many kinds: each is counted exactly once."""
    luck = random.Random(20260101)
    put = 0
    for minute in range(0, 24 * 60, 3):
        post.now = START + minute * 60
        for _ in range(luck.choice((0, 0, 1, 3, 12))):
            times = luck.choice((1, 1, 2, 7))
            post.fail(f"kind {luck.randrange(40)}", times)
            put += times
        post.plan()
    for minute in range(24 * 60, 28 * 60, 5):
        post.at(minute * 60)
    assert post.unmailed() == 0
    assert post.counted() == put
    created = [
        row[0]
        for row in post.mailbox.connection.execute(
            "SELECT created FROM mails WHERE kind != 'summary' ORDER BY created"
        )
    ]
    for moment in created:
        assert sum(moment - 3600 < other <= moment for other in created) <= CAP


def test_an_error_that_cannot_be_rendered_does_not_delay_the_others(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = drafts.draft_report

    def draft(report: Report, *rest: Any, **options: Any) -> Draft:
        if report.message == "boom bad":
            raise ValueError("cannot be rendered")
        return honest(report, *rest, **options)

    monkeypatch.setattr(drafts, "draft_report", draft)
    post.fail("bad")
    post.fail("good")
    post.at(0)
    assert post.mails() == [("report", "good", 1)]


@pytest.mark.parametrize("body", ["'{'", "CAST(x'7b80' AS TEXT)", "'[]'"])
def test_a_report_that_cannot_be_read_is_mailed_and_stops_no_other(post: Post, body: str) -> None:
    post.fail("broken")
    post.mailbox.connection.execute(f"UPDATE reports SET body = {body} WHERE mailable")
    post.fail("good")
    post.at(0)
    assert post.mails() == [("report", "broken", 1), ("report", "good", 1)]
    assert "cannot be read: the spool" in str(post.contents()[0])
    post.fail("broken")
    post.at(WINDOW)
    assert post.mails()[2:] == [("digest", "broken", 1)]


@pytest.mark.parametrize(
    "recipients",
    [
        "'\"a@b.example\"'",
        "CAST(x'5b2261ff6240622e6578616d706c65225d' AS TEXT)",
        "'[\"admin'",
        "'7'",
        "CAST(x'5bff5d' AS TEXT)",
        "'[]'",
    ],
)
def test_a_mail_whose_recipients_cannot_be_read_goes_to_all(
    post: Post, monkeypatch: pytest.MonkeyPatch, recipients: str
) -> None:
    offered: list[tuple[str, ...]] = []

    def send(_: smtp.SmtpSession, to: tuple[str, ...], content: bytes) -> smtp.Verdict:
        offered.append(to)
        return smtp.Verdict(smtp.Fate.DELIVERED)

    monkeypatch.setattr(smtp.SmtpSession, "send", send)
    for kind in ("broken", "good"):
        post.fail(kind)
    post.at(0)
    post.mailbox.connection.execute(f"UPDATE mails SET recipients = {recipients} WHERE id = 1")
    post.delivery.send(START)
    assert offered == [post.settings.mail.admins] * 2


def test_a_report_that_cannot_be_read_does_not_stop_a_summary(post: Post) -> None:
    for number in range(CAP):
        post.fail(str(number))
    post.at(0)
    post.fail("broken")
    post.mailbox.connection.execute("UPDATE reports SET body = '{' WHERE fingerprint = 'broken'")
    post.fail("good")
    post.at(1)
    assert post.mails()[CAP:] == [("summary", None, 2)]


def test_mails_from_before_the_clock_was_set_back_do_not_use_up_the_cap(post: Post) -> None:
    for number in range(CAP):
        post.fail(str(number))
    post.at(86_400)
    post.fail("good")
    post.at(0)
    assert post.mails()[CAP:] == [("report", "good", 1)]


def test_a_damaged_database_that_could_not_be_copied_is_tried_again_and_never_expires(
    post: Post,
) -> None:
    broken = post.outbox.folder / "reports.db.broken-20200101T000000Z"
    whole = Outbox(post.outbox.folder.parent / "other", 1 << 20)
    with closing(Mailbox(whole)) as other:
        whole.put(post.report("saved", message="x" * 100_000), mailable=True)
        other.take_incoming()
    post.mailbox.connection.execute("PRAGMA max_page_count = 1")
    whole.path.rename(broken)
    os.utime(broken, (1, 1))
    post.delivery.run(START)
    assert broken.exists()
    post.mailbox.connection.execute("PRAGMA max_page_count = 1000")
    post.delivery.run(START + 59)
    assert broken.exists()
    post.delivery.run(START + 60)
    assert not broken.exists()
    assert "saved" in [kind for _, kind, _ in post.mails()]


# Errors that are not mailed, and retention


def test_errors_recorded_while_mail_was_off_are_never_mailed(post: Post) -> None:
    post.record(post.report("old"), mailable=False)
    post.at(0)
    assert post.mails() == []


def test_delivered_reports_are_deleted_after_the_retention_period(post: Post) -> None:
    post.fail("delivered")
    post.at(0)
    post.mailbox.finish(post.mailbox.due(post.now, 300)[0], "delivered")
    post.fail("waits")
    post.at(1)
    for day, left in ((29, 2), (31, 1)):
        keep_from = START + (day - 30) * 86_400
        retention.expire(post.mailbox, keep_from, keep_from)
        assert len(post.mails()) == left
    assert post.mails() == [("report", "waits", 1)]
    rows = post.mailbox.connection.execute("SELECT fingerprint FROM reports").fetchall()
    assert rows == [("waits",)]


def test_expired_reports_are_deleted_once_an_hour(post: Post) -> None:
    post.record(post.report("old"), mailable=False)
    without_server = read_settings({"SECRET_KEY": "k" * 40, "SPOOL_DIR": post.outbox.folder})
    delivery = post.deliver_with(without_server)
    delivery.run(START + 29 * 86_400)
    count = "SELECT count(*) FROM reports"
    assert post.mailbox.connection.execute(count).fetchone() != (0,)
    delivery.run(START + 31 * 86_400)
    assert post.mailbox.connection.execute(count).fetchone() == (0,)


@pytest.mark.parametrize(
    "name",
    [
        "reports.db.corrupt-20200101T000000Z",
        "incoming/vm-1-0a.unreadable",
        "incoming/0a.part",
    ],
)
def test_undeliverable_mails_are_kept_as_long_as_delivered_ones(post: Post, name: str) -> None:
    leftover = post.outbox.folder / name
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"personal data")
    os.utime(leftover, (START, START))
    post.delivery.run(START + 29 * 86_400)
    assert leftover.exists()
    post.delivery.run(START + 31 * 86_400)
    assert not leftover.exists()


# Retries


def test_the_wait_doubles_up_to_five_minutes() -> None:
    for tries in range(1, 2000):
        limit = min(MAX_BACKOFF, 2.0 ** min(tries - 1, 20))
        for _ in range(3):
            assert limit / 2 <= backoff(tries) <= limit
    assert MAX_BACKOFF == 300


def test_the_wait_is_randomised() -> None:
    assert len({backoff(5) for _ in range(20)}) > 1


def test_a_postponed_mail_is_due_at_its_next_try(post: Post) -> None:
    post.fail()
    post.at(0)
    (mail,) = post.mailbox.due(START, 300)
    post.mailbox.postpone(mail, START + 60, "451 later", ("admin@microblog.example",))
    assert post.mailbox.due(START + 59, 300) == []
    (again,) = post.mailbox.due(START + 60, 300)
    assert (again.id, again.content, again.tries) == (mail.id, mail.content, 1)


def test_a_mail_postponed_too_far_after_the_clock_was_set_back_is_due(post: Post) -> None:
    post.fail()
    post.at(0)
    (mail,) = post.mailbox.due(START, 300)
    post.mailbox.postpone(mail, START + 60, "451 later", ("admin@microblog.example",))
    assert post.mailbox.due(START - 86_400, 300) != []


def test_a_queued_mail_does_not_change(post: Post) -> None:
    post.fail(times=3)
    post.at(0)
    post.at(WINDOW)
    before = [(mail.id, mail.content) for mail in post.mailbox.due(post.now, 300)]
    post.fail(times=3)
    post.at(WINDOW + 1)
    assert [(mail.id, mail.content) for mail in post.mailbox.due(post.now, 300)] == before


# A courier that was taken over


def test_a_courier_that_was_taken_over_can_change_nothing(post: Post) -> None:
    post.mailbox.take_over()
    post.fail()
    post.at(0)
    (mail,) = post.mailbox.due(START, 300)
    with closing(Mailbox(post.outbox)) as other:
        other.take_over()
        post.outbox.put(post.report(), mailable=True)
        for change in (
            lambda: post.mailbox.finish(mail, "delivered"),
            lambda: post.mailbox.postpone(mail, START, "later", ()),
            lambda: post.mailbox.postpone_all(START + 60, "later"),
            post.mailbox.take_incoming,
            lambda: post.delivery.run(START + WINDOW),
        ):
            with pytest.raises(LeaseLostError):
                change()
        other.take_incoming()
        assert [found.content for found in other.due(START, 300)] == [mail.content]
        assert other.pending_span("a")[1] == 1


# Mails refused for their content


def refuse_word(monkeypatch: pytest.MonkeyPatch, word: bytes) -> list[bytes]:
    """Let the mail server refuse mails that contain ``word``; return those that it accepts."""
    taken: list[bytes] = []

    def send(_: smtp.SmtpSession, to: tuple[str, ...], content: bytes) -> smtp.Verdict:
        if word in content:
            return smtp.Verdict(smtp.Fate.FAILED, "554 no such words")
        taken.append(content)
        return smtp.Verdict(smtp.Fate.DELIVERED)

    monkeypatch.setattr(smtp.SmtpSession, "send", send)
    return taken


def test_refused_mails_are_counted_in_a_notice_without_outside_text(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visitor must not hide an error by sending a word that the server refuses."""
    taken = refuse_word(monkeypatch, b"pills")
    hidden = post.report("pills", where="at GET /pills")
    post.record(hidden)
    post.fail("good")
    for second in (0, 1, 400, 401):  # it fails once the server has accepted another
        post.delivery.run(START + second)
    rows = post.mailbox.connection.execute("SELECT kind, state, count FROM mails ORDER BY id")
    assert rows.fetchall() == [
        ("report", "failed", 1),
        ("report", "delivered", 1),
        ("notice", "delivered", 0),
    ]
    notice = message_from_bytes(taken[-1], policy=policy.default)
    assert notice["Subject"] == "[app] 1 error could not be mailed"
    assert notice["X-Error-Count"] == "1"
    text = notice.get_body(("plain",)).get_content()
    assert re.search(r"Errors:? +1\b", text)
    assert str(hidden.request_id) in text
    assert "flask mayday reports show NUMBER" in text
    assert "pills" not in str(notice)


def test_refused_mails_are_in_one_notice_a_window_and_each_in_one_only(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = refuse_word(monkeypatch, b"pills")
    post.fail("good")
    for step in range(20):
        if step in (1, 2, 3):
            post.now = START + step
            post.fail(f"pills {step}")
        post.delivery.run(START + step * WINDOW / 5)
    notices = [content for content in taken if b"could not be mailed" in content]
    counts = [int(message_from_bytes(content)["X-Error-Count"]) for content in notices]
    assert sum(counts) == 3
    assert len(counts) <= 2


def test_a_refused_mail_that_expires_is_counted_only_once(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_word(monkeypatch, b"pills")
    post.fail("pills")
    post.fail("good")
    for second in (0, 1, 400, 401):
        post.delivery.run(START + second)
    retention.expire_refused(post.mailbox, START + 1000)
    assert post.mailbox.counter("dropped") == 0  # the notice has counted it


# The hourly cap is shared among routes and loggers


def fail_on(post: Post, route: str, kind: str) -> None:
    request = {"method": "GET", "route": route, "path": route}
    post.record(post.report(kind, request=request, where=f"at GET {route}"))


@pytest.fixture
def busy(post: Post) -> Post:
    """A delivery with a cap of 20, of which one route has used up its share."""
    post.settings = read_settings(
        {
            "SPOOL_DIR": post.outbox.folder,
            "MAIL_SERVER": "127.0.0.1",
            "ADMINS": "a@example.com",
            "REPORT_WINDOW": WINDOW,
            "REPORT_MAILS_PER_HOUR": 20,
        }
    )
    post.delivery = post.deliver_with(post.settings)
    for number in range(100):
        fail_on(post, "/flood", f"kind {number}")
    post.at(0)
    assert [kind for kind, _, _ in post.mails()] == ["report"] * 15 + ["summary"]
    return post


def test_the_first_error_of_another_route_is_mailed_while_one_floods(busy: Post) -> None:
    for second in range(1, 9):
        busy.now = START + second
        for number in range(20):
            fail_on(busy, "/flood", f"kind {second} {number}")
        if second % 4 == 0:
            fail_on(busy, f"/other/{second}", f"other {second}")
        busy.plan()
    assert busy.mails()[16:] == [("report", "other 4", 1), ("report", "other 8", 1)]
    busy.at(2 * WINDOW)
    assert busy.unmailed() == 0
    assert busy.counted() == 100 + 160 + 2


def test_requests_without_a_route_share_the_mails_of_their_logger(busy: Post) -> None:
    """A visitor could ask for any number of paths."""
    for number in range(30):
        request = {"method": "GET", "route": "", "path": f"/{number}"}
        where = f"at GET /{number}"
        busy.record(busy.report(f"path {number}", request=request, where=where, logger="app"))
    busy.at(1)
    assert len(busy.mails()) == 16 + 3
    fail_on(busy, "/other", "other")
    busy.at(2)
    assert busy.mails()[-1] == ("report", "other", 1)


def test_a_digest_waits_for_new_errors(post: Post) -> None:
    for kind in "ab":
        post.fail(kind, 2)
    post.at(0)
    post.now = START + WINDOW
    for kind in "cdef":
        post.fail(kind)
    post.plan()
    assert [kind for _, kind, _ in post.mails()[2:]] == ["c", "d", "e", None]


# Errors that come back


def resolve(post: Post, kind: str = "a", release: str = "1.4") -> None:
    group = groups.load(post.mailbox, kind)
    assert group is not None
    group.resolve(post.now, release)
    groups.save(post.mailbox, [group])


def test_a_resolved_error_that_comes_back_is_mailed_at_once_and_says_so(post: Post) -> None:
    post.record(post.report(release="1.3"))
    post.at(0)
    post.now = START + 10
    resolve(post)
    post.now = START + 20
    post.record(post.report(release="1.5"))
    post.record(post.report(release="1.5"))
    post.plan()
    back = post.contents()[1]
    assert post.mails() == [("report", "a", 1)] * 2
    assert back["Subject"] == "[app] back: ValueError: boom a in test"
    text = back.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert re.search(
        r"Resolved: +2026-01-01 00:00:10 UTC in release 1\.4; back in release 1\.5\n", text
    )
    assert re.search(
        r"First seen: +2026-01-01 00:00:00 UTC in release 1\.3; 3 times in all\n", text
    )
    post.at(20 + WINDOW)
    assert post.mails()[2:] == [("digest", "a", 1)]
    assert "back:" not in post.contents()[2]["Subject"]


def test_errors_from_before_it_was_resolved_are_in_a_digest_and_not_back(post: Post) -> None:
    post.fail(times=3)
    post.at(0)
    post.now = START + 10
    resolve(post)
    post.at(WINDOW)
    assert post.mails() == [("report", "a", 1), ("digest", "a", 2)]
    assert "back:" not in str(post.contents()[1]["Subject"])


def test_a_summary_says_which_errors_are_back(post: Post) -> None:
    post.fail("a")
    for number in range(CAP - 1):
        post.fail(f"other {number}")
    post.at(0)
    post.now = START + 10
    resolve(post)
    post.now = START + 20
    post.fail("a")
    post.plan()
    summary = post.contents()[-1]
    assert "1 x back: ValueError: boom a" in summary.get_body(("plain",)).get_content()


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (smtp.Fate.UNCONFIRMED, "An error mail may not have reached all of its recipients: x"),
        (smtp.Fate.WAITS, "An error mail did not reach all of its recipients: x"),
    ],
)
def test_the_log_says_of_an_unconfirmed_mail_only_that_it_may_be_missing(
    post: Post,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fate: smtp.Fate,
    words: str,
) -> None:
    def send(_: Any, to: tuple[str, ...], content: bytes) -> smtp.Verdict:
        return smtp.Verdict(fate, "x", again=to)

    monkeypatch.setattr(smtp.SmtpSession, "send", send)
    post.fail()
    post.at(0)
    post.delivery.send(START)
    assert [one.getMessage() for one in caplog.records] == [words]
