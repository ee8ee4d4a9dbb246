"""A mail server that is down: for three simulated days, and for ten real seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

import pytest

from flask_mayday.courier.delivery import MAX_BACKOFF

QuerySpool = Callable[[str], list[tuple[Any, ...]]]
HOUR, DAY = 3600, 86_400


def test_every_error_is_mailed_after_three_days_without_a_mail_server(
    make_courier: Callable[..., Any],
    scripted_server: Any,
    record_property: Callable[[str, object], None],
) -> None:
    cap, step = 10, 30
    courier = make_courier(**scripted_server.settings, REPORT_MAILS_PER_HOUR=cap)
    scripted_server.script = {"greeting": b"421 away\r\n"}
    put = 0
    for second in range(0, 3 * DAY, step):
        if second % 60 == 0:
            courier.fail(f"kind {put % 7}" if put % 10 else f"only once: {put}")
            put += 1
        courier.deliver_after(step)
    tried = scripted_server.connections
    assert scripted_server.mails == []
    assert 3 * DAY / MAX_BACKOFF <= tried <= 2 * 3 * DAY / MAX_BACKOFF + 10

    scripted_server.script = {}
    back, first = courier.now, None
    while courier.waits() or courier.mailbox.pending_errors(courier.now):
        courier.deliver_after(step)
        if first is None and scripted_server.mails:
            first = courier.now - back
        assert courier.now < back + 2 * HOUR
    assert first is not None
    assert first <= MAX_BACKOFF + step
    mails = [message_from_bytes(content) for _, content in scripted_server.mails]
    assert len({mail["Message-ID"] for mail in mails}) == len(mails)
    assert sum(int(mail["X-Error-Count"]) for mail in mails) == put
    created = courier.mailbox.connection.execute(
        "SELECT created FROM mails WHERE kind != 'summary' ORDER BY id"
    ).fetchall()
    for (moment,) in created:
        assert sum(moment - HOUR < other <= moment for (other,) in created) <= cap
    record_property("errors", put)
    record_property("mails", len(mails))
    record_property("connections tried", tried)
    record_property("first mail after (s)", round(first))


def test_every_error_is_mailed_after_ten_seconds_without_a_mail_server(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    """Five errors a second, in real time."""
    smtp_server.behave("refuse")
    server = gunicorn(**smtp_server.settings, REPORT_WINDOW=10)
    started, answers = time.monotonic(), []
    for number in range(5 * 10):
        answers.append(server.fail(f"error of kind {'abcdefg'[number % 7]}"))
        time.sleep(max(0.0, started + number / 5 - time.monotonic()))
    assert {answer.status for answer in answers} == {500}
    smtp_server.behave("accept")
    back = time.monotonic()
    wait_until(lambda: smtp_server.total() == len(answers), "every error mailed")
    record_property("errors", len(answers))
    record_property("all mailed after (s)", round(time.monotonic() - back, 1))


def test_retry_in_another_process_delivers_at_once(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
    flask: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    smtp_server.behave("refuse")
    server = gunicorn(**smtp_server.settings)
    first = server.fail("the first")
    far = f"SELECT count(*) FROM mails WHERE next_try > {time.time()} + 14"
    wait_until(lambda: query_spool(far) == [(1,)], "a next try that is some seconds away")
    second = server.fail("the second")
    same = "SELECT count(*), count(DISTINCT next_try) FROM mails WHERE error IS NOT NULL"
    wait_until(lambda: query_spool(same) == [(2, 1)], "both waiting for the same moment")
    ((moment,),) = query_spool("SELECT DISTINCT next_try FROM mails")
    listed = flask("reports", "list", **smtp_server.settings)
    assert listed.returncode == 0
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))
    waiting = re.findall(f"next try at {re.escape(stamp)}.*Nothing listens", listed.stdout)
    assert len(waiting) == 2 or time.time() > moment
    smtp_server.behave("accept")
    done = flask("reports", "retry", **smtp_server.settings)
    retried = time.time()
    for answer in (first, second):
        wait_until(lambda wanted=answer: smtp_server.with_request_id(wanted.request_id), "it")
    record_property("mailed after (s)", round(time.time() - retried, 2))
    # On a busy machine the next try may have come before the command had started.
    assert retried > moment or done.stdout == "Trying 2 mails now.\n"
    assert retried > moment - 8 or time.time() < moment


@pytest.mark.parametrize("behaviour", ["hang", "slow"])
def test_a_server_stops_within_its_grace_period_while_the_mail_server_hangs(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
    record_property: Callable[[str, object], None],
    behaviour: str,
) -> None:
    smtp_server.behave(behaviour, delay=60)
    server = gunicorn(**smtp_server.settings, MAIL_TIMEOUT=60)
    before = smtp_server.connections
    server.fail("waits")
    wait_until(lambda: smtp_server.connections > before, "a connection")
    started = time.monotonic()
    assert server.stop() == 0
    seconds = time.monotonic() - started
    # The courier gets 5 s from flask_mayday.gunicorn, the container 40 s from compose.yaml.
    assert seconds < 30  # half of MAIL_TIMEOUT
    record_property("stopped after (s)", round(seconds, 1))
    assert query_spool("SELECT state FROM mails") == [("waiting",)]
    assert "Microblog shutdown" in server.log.read_text()
