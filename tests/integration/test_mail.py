"""From a failing request to the administrator's mailbox, through real servers."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

QuerySpool = Callable[[str], list[tuple[Any, ...]]]
SECRET_KEY = "0123456789abcdef0123456789abcdef01234567"
KILLED = 5  # the minimum of killed workers


def test_page_mail_and_log_have_one_request_id(
    gunicorn: Callable[..., Any], smtp_server: Any, wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(**smtp_server.settings)
    answer = server.fail("the error of this test")
    assert answer.status == 500
    assert answer.request_id.encode() in answer.body
    (mail,) = wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")
    assert mail["Subject"] == (
        "[Microblog] DrillError: the error of this test at POST /drill/<kind>"
    )
    text = mail.get_body(("plain",)).get_content()
    assert "Traceback (most recent call last):" in text
    assert "in exception" in text
    assert answer.request_id in text
    assert smtp_server.recipients == [("admin@microblog.example",)]
    records = [
        line
        for line in server.log.read_text().splitlines()
        if line.endswith(f"[request {answer.request_id}]")
    ]
    assert len([line for line in records if " ERROR: " in line]) == 1
    assert len([line for line in records if '"POST /drill/exception" 500' in line]) == 1
    assert server.stop() == 0
    assert len(smtp_server.mails) == 1


@pytest.mark.parametrize("behaviour", ["hang", "refuse", "4xx", "5xx", "drop", "slow"])
def test_a_bad_mail_server_does_not_delay_the_error_page_and_gets_the_mail_later(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
    behaviour: str,
) -> None:
    timeout = 1 if behaviour == "hang" else 10
    smtp_server.behave(behaviour, delay=3.0)
    server = gunicorn(**smtp_server.settings, MAIL_TIMEOUT=timeout)
    server.fail("warm up")
    answers = [server.fail(f"failed {kind}") for kind in "abc"]
    assert [answer.status for answer in answers] == [500] * 3
    # A page that waited for the mail server would take seconds; compare the fastest.
    assert min(answer.seconds for answer in answers) < 1
    if behaviour != "slow":
        tried = "SELECT count(*) FROM mails WHERE error != ''"
        wait_until(lambda: query_spool(tried) != [(0,)], "a try that failed")
        assert smtp_server.mails == []
    smtp_server.behave("accept")
    wanted = {answer.request_id for answer in answers}
    wait_until(
        lambda: wanted <= {mail["X-Request-ID"] for mail in list(smtp_server.mails)},
        "the mails after the mail server was fixed",
    )
    assert max(Counter(mail["Message-ID"] for mail in smtp_server.mails).values()) == 1


def test_one_refused_recipient_does_not_block_the_others(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    smtp_server.behave("recipient", refused="gone@microblog.example")
    settings = smtp_server.settings | {"ADMINS": "gone@microblog.example, here@microblog.example"}
    gunicorn(**settings).fail("boom")
    states = "SELECT state, recipients FROM mails"
    wait_until(lambda: query_spool(states) == [("delivered", "[]")], "the delivery")
    assert smtp_server.recipients == [("here@microblog.example",)]


def test_a_connection_closed_at_one_recipient_delivers_to_none(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    smtp_server.behave("closing", refused="second@microblog.example")
    both = ("first@microblog.example", "second@microblog.example")
    gunicorn(**smtp_server.settings | {"ADMINS": ",".join(both)}).fail("boom")
    tried = "SELECT count(*) FROM mails WHERE tries > 0"
    wait_until(lambda: query_spool(tried) == [(1,)], "a try")
    smtp_server.behave("accept")
    wait_until(lambda: smtp_server.mails, "the mail")
    assert smtp_server.recipients == [both]


def test_a_permanently_refused_mail_does_not_delay_the_next(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    smtp_server.behave("poison", refused="refused")
    server = gunicorn(**smtp_server.settings)
    server.fail("refused")
    refused = "SELECT count(*) FROM mails WHERE error LIKE '%554 no'"
    wait_until(lambda: query_spool(refused) == [(1,)], "the refusal")
    answer = server.fail("accepted")
    wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the next mail")
    failed = "SELECT count(*) FROM mails WHERE state = 'failed' AND error LIKE '%554 no'"
    wait_until(lambda: query_spool(failed) == [(1,)], "that it is given up")
    assert len(smtp_server.mails) == 1


def test_waiting_mails_are_delivered_after_a_restart(
    gunicorn: Callable[..., Any], smtp_server: Any, wait_until: Callable[..., Any]
) -> None:
    smtp_server.behave("refuse")
    server = gunicorn(**smtp_server.settings)
    answers = [server.fail(f"failed {kind}") for kind in "abc"]
    server.kill()
    smtp_server.behave("accept")
    gunicorn(ask=False, **smtp_server.settings)  # and no request is sent to it
    for answer in answers:
        (mail,) = wait_until(
            lambda wanted=answer.request_id: smtp_server.with_request_id(wanted), "the mail"
        )
        assert mail["X-Error-Count"] == "1"


def test_without_a_mail_server_reports_are_kept_and_not_mailed_later(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    server = gunicorn()
    before = server.fail("before")
    server.kill()
    kept = "SELECT request_id FROM reports"
    assert (before.request_id,) in query_spool(kept)
    server = gunicorn(**smtp_server.settings)
    after = server.fail("after")
    wait_until(lambda: smtp_server.with_request_id(after.request_id), "the mail of the later one")
    assert smtp_server.with_request_id(before.request_id) == []
    assert (before.request_id,) in query_spool(kept)


def courier_of(server: Any) -> int:
    """Return the pid of the process that holds courier.lock, or 0."""
    try:
        inode = (server.spool / "courier.lock").stat().st_ino
    except FileNotFoundError:
        return 0
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return 0


def test_another_worker_takes_over_delivery_from_a_killed_one(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    server = gunicorn(**smtp_server.settings, WEB_CONCURRENCY=3)
    first = wait_until(lambda: courier_of(server), "a courier")
    assert first in server.workers()
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: courier_of(server) not in (0, first), "another courier")
    record_property("another courier after (s)", round(time.monotonic() - killed, 2))
    answer = server.fail("after the kill")
    wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")


def test_another_server_on_the_spool_takes_over_delivery_from_a_killed_one(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    """Two containers on one volume, one of which is killed."""
    one = gunicorn(**smtp_server.settings, WEB_CONCURRENCY=1)
    wait_until(lambda: courier_of(one) in one.workers(), "the first one's courier")
    other = gunicorn(**smtp_server.settings, WEB_CONCURRENCY=1)
    answer = other.fail("while the first delivers")
    wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")
    one.kill()
    killed = time.monotonic()
    wait_until(lambda: courier_of(other) in other.workers(), "the other one's courier")
    record_property("another courier after (s)", round(time.monotonic() - killed, 2))
    answer = other.fail("after the kill")
    wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the mail")


def test_a_thousand_identical_errors_of_four_workers_become_one_mail_and_one_digest(
    gunicorn: Callable[..., Any], smtp_server: Any, wait_until: Callable[..., Any]
) -> None:
    window = 6
    server = gunicorn(**smtp_server.settings, WEB_CONCURRENCY=4, REPORT_WINDOW=window)

    def fail(_: int) -> int:
        return int(server.fail("the same again").status)

    started = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        statuses = Counter(clients.map(fail, range(1000)))
    windows = int((time.monotonic() - started) // window)  # 0, except on a very slow machine
    assert statuses == {500: 1000}
    wait_until(lambda: smtp_server.total() == 1000, "all of them counted")
    first, *digests = smtp_server.mails
    assert first["Subject"] == "[Microblog] DrillError: the same again at POST /drill/<kind>"
    assert first["X-Error-Count"] == "1"
    assert 1 <= len(digests) <= 1 + windows
    assert sum(int(digest["X-Error-Count"]) for digest in digests) == 999
    for digest in digests:
        assert f"({digest['X-Error-Count']} times)" in digest["Subject"]
        assert digest["References"] == first["Message-ID"]


def test_different_errors_beyond_the_cap_are_counted_in_a_summary(
    gunicorn: Callable[..., Any], smtp_server: Any, wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(**smtp_server.settings, REPORT_MAILS_PER_HOUR=3, REPORT_WINDOW=1)
    started = time.monotonic()
    for number in range(30):
        server.fail(f"kind {number}")
    wait_until(lambda: smtp_server.total() == 30, "all of them counted")
    kinds = Counter("more error" in subject for subject in smtp_server.subjects())
    assert kinds[False] == 3
    assert 1 <= kinds[True] <= 1 + time.monotonic() - started  # one in each window


def test_no_secret_of_a_request_is_in_mail_log_or_spool(
    gunicorn: Callable[..., Any], smtp_server: Any, wait_until: Callable[..., Any]
) -> None:
    server = gunicorn(**smtp_server.settings)
    secrets = {
        "Cookie": "session=cookie-value-1",
        "Authorization": "Bearer bearer-value-2",
        "X-Api-Key": "api-key-value-3",
        "Referer": "http://127.0.0.1/?token=token-value-4",
    }
    answer = server.request(
        "/drill/exception?password=query-value-5", "POST", "message=boom", secrets
    )
    assert answer.status == 500
    wait_until(lambda: smtp_server.mails, "the mail")
    server.stop()
    everything = b"".join(smtp_server.raw) + server.log.read_bytes() + server.output.encode()
    everything += b"".join(path.read_bytes() for path in server.spool.iterdir() if path.is_file())
    values = ["cookie-value", "bearer-value", "api-key-value", "token-value", "query-value"]
    for value in [*values, SECRET_KEY]:
        assert value.encode() not in everything


def test_an_unusable_spool_does_not_affect_visitors(
    gunicorn: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "spool").touch()  # a file in place of the folder: nothing can be written
    server = gunicorn()
    answers = [server.fail(f"failed {kind}") for kind in "abc"]
    assert [answer.status for answer in answers] == [500] * 3
    assert min(answer.seconds for answer in answers) < 1
    assert "could not be written to the spool" in server.output
    assert server.stop() == 0


def test_every_answered_error_is_reported_while_workers_are_killed(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    wait_until: Callable[..., Any],
    query_spool: QuerySpool,
) -> None:
    """A worker is killed every 100 ms; an error is reported before its response is sent.

    Waves of 500 failing requests are repeated until enough workers were killed.
    """
    server = gunicorn(**smtp_server.settings, WEB_CONCURRENCY=4, REPORT_WINDOW=2)
    done = threading.Event()
    killed = Counter[str]()
    answered: set[str] = set()

    def kill_workers() -> None:
        while not done.wait(0.1):
            workers = server.workers()
            if len(workers) > 1:
                os.kill(random.choice(workers), signal.SIGKILL)
                killed["workers"] += 1

    def ask(number: int) -> str | None:
        try:
            if number % 2:
                server.request("/health/live", timeout=60)
                return None
            answer = server.fail(f"error of kind {'abcde'[number % 5]}")
        except (OSError, http.client.HTTPException):
            return None  # the worker died in the request
        assert answer.status == 500
        return str(answer.request_id)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        with ThreadPoolExecutor(6) as clients:
            for _ in range(10):
                answered |= {found for found in clients.map(ask, range(1000)) if found}
                if killed["workers"] >= KILLED:
                    break
    finally:
        done.set()
        killer.join()
    assert killed["workers"] >= KILLED
    assert len(answered) >= 20

    incoming = server.spool / "incoming"
    wait_until(lambda: {path.suffix for path in incoming.iterdir()} <= {".part"}, "all taken in")
    recorded = {request_id for (request_id,) in query_spool("SELECT request_id FROM reports")}
    assert answered <= recorded
    logged = {
        line.rpartition("[request ")[2].rstrip("]")
        for line in server.log.read_text().splitlines()
        if " ERROR: Exception on /drill/exception [POST] " in line
    }
    assert answered <= logged
    wait_until(
        lambda: smtp_server.total() == query_spool("SELECT count(*) FROM reports")[0][0],
        "every report counted once in a delivered mail",
    )
