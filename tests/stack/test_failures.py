"""Failures of the stack, as visitors and administrators see them."""

from __future__ import annotations

import html
import http.client
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.compose import Answer, Stack, wait_until


def _send(
    stack: Stack,
    count: int,
    stop: threading.Event | None = None,
    pause: float = 0.0,
    got: list[Answer] | None = None,
) -> list[Answer]:
    """Send ``count`` requests, half of which fail, from four clients at once, ``pause`` s apart.

    Status 0 means that there was no response. ``got`` receives the answers as they come.
    """
    answers = [] if got is None else got

    def one(number: int) -> None:
        if stop is not None and stop.is_set():
            return
        time.sleep(pause)
        try:
            if number % 2:
                answers.append(stack.get("/nothing-here"))
            else:
                answers.append(stack.drill("exception", message=f"error {number} of {mark}"))
        except (OSError, http.client.HTTPException):
            answers.append(Answer(0, [], ""))

    mark = random.randrange(1 << 30)
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(one, range(count)))
    return answers


def _assert_accounted(stack: Stack, answers: list[Answer]) -> None:
    """Every error that got a page of the app is mailed or counted, and has its log line."""
    paged = {answer.request_id for answer in answers if answer.status == 500}

    def undelivered() -> list[object]:
        rows = stack.spool(
            "SELECT request_id FROM reports JOIN mails ON mails.id = mail_id"
            " WHERE state = 'delivered'"
        )
        return sorted(paged - {row[0] for row in rows})

    wait_until(lambda: not undelivered(), f"delivery of {len(paged)} errors")
    log = stack.log()
    assert [one for one in paged if f"[request {one}]" not in log] == []


def test_every_response_has_a_request_id_while_web_restarts(stack: Stack) -> None:
    with ThreadPoolExecutor(1) as background:
        sending = background.submit(_send, stack, 400)
        stack.compose("restart", "web")
        answers = sending.result()
    assert len([answer.request_id for answer in answers]) == 400
    assert {answer.status for answer in answers} <= {404, 500, 502, 504}
    _assert_accounted(stack, answers)


def test_stopping_and_starting_the_stack_loses_no_error_that_got_a_page(
    stack: Stack,
) -> None:
    ended = threading.Event()
    answers: list[Answer] = []

    def has_error_page_after(count: int) -> bool:
        """Return whether the app has answered an error since the first ``count`` answers."""
        return any(answer.status == 500 for answer in answers[count:])

    with ThreadPoolExecutor(1) as background:
        sending = background.submit(_send, stack, 50_000, ended, 0.05, answers)
        try:
            wait_until(lambda: has_error_page_after(0), "an error")
            stack.compose("stop")
            wait_until(lambda: any(not answer.status for answer in answers), "a stopped stack")
            stack.compose("up", "--detach", "--wait", "--no-build")
            seen = len(answers)
            wait_until(lambda: has_error_page_after(seen), "an error after the start")
        finally:
            ended.set()
        sending.result()
    answered = [answer for answer in answers if answer.status]
    assert len([answer.request_id for answer in answered]) == len(answered)
    assert {answer.status for answer in answered} <= {404, 500, 502, 504}
    _assert_accounted(stack, answered)


def test_workers_killed_every_100_ms_lose_no_error_that_got_a_page(stack: Stack) -> None:
    killed = []

    def kill() -> None:
        script = (
            "import os, random, signal, time\n"
            "for _ in range(600):\n"
            "    workers = []\n"
            "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "        try: stat = open(f'/proc/{pid}/stat').read().split()\n"
            "        except OSError: continue\n"
            "        if stat[3] == '1' and 'gunicorn' in open(f'/proc/{pid}/cmdline').read():\n"
            "            workers.append(int(pid))\n"
            "    if workers:\n"
            "        victim = random.choice(workers)\n"
            "        os.kill(victim, signal.SIGKILL); print(victim, flush=True)\n"
            "        open('/tmp/begun', 'w').close()\n"
            "    time.sleep(0.1)\n"
            "    if os.path.exists('/tmp/enough'): break\n"
        )
        killed.extend(stack.execute("web", "python3", "-c", script).split())

    stack.shell("web", "rm -f /tmp/enough /tmp/begun")
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        wait_until(lambda: stack.shell("web", "ls /tmp/begun", check=False), "the first kill")
        answers = _send(stack, 500, pause=0.02)
    finally:
        stack.shell("web", "touch /tmp/enough")
        killer.join()
        stack.shell("web", "rm -f /tmp/enough /tmp/begun")
    assert len(killed) > 2
    assert len([answer.request_id for answer in answers]) == 500
    assert {500} <= {answer.status for answer in answers} <= {404, 500, 502, 504}
    _assert_accounted(stack, answers)


def _answer(stack: Stack, status: int) -> Answer | None:
    answer = stack.get("/")
    assert answer.request_id in answer.text
    return answer if answer.status == status else None


def test_nginx_serves_a_page_with_the_request_id_when_web_is_down(stack: Stack) -> None:
    stack.compose("stop", "web")
    # nginx tries the old address of web for one more second.
    answer = wait_until(lambda: _answer(stack, 502), "a 502 of nginx")
    assert isinstance(answer, Answer)
    assert "We'll be back in a moment" in html.unescape(answer.text)
    assert answer.header("Cache-Control") == "no-store"
    stack.compose("start", "web")
    wait_until(lambda: stack.get("/").status != 502, "web behind nginx")


def test_a_removed_container_causes_no_timeout(stack: Stack) -> None:
    """nginx tries its address, which no longer answers, for one more second."""

    def first_failure() -> tuple[Answer, float]:
        """Visit the site, so that nginx knows the address, until a visit fails."""
        for _ in range(1000):
            begun = time.monotonic()
            answer = stack.get("/health/live")
            if answer.status != 200:
                return answer, time.monotonic() - begun
            time.sleep(0.1)  # between visits, since one in progress gets a 504
        raise AssertionError("the address answers")

    def was_tried() -> bool:
        assert stack.get("/health/live").status == 200
        with ThreadPoolExecutor(1) as background:
            visiting = background.submit(first_failure)
            stack.run("docker", "network", "disconnect", network, container)
            try:
                answer, seconds = visiting.result()
            finally:
                stack.run("docker", "network", "connect", "--alias", "web", network, container)
        wait_until(lambda: stack.get("/health/live").status == 200, "web behind nginx")
        if answer.status == 504:
            return False  # it was being served
        assert (answer.status, answer.header("Retry-After")) == (502, "5")
        return seconds > 0.4  # proxy_connect_timeout is 500 ms

    network = f"{stack.project}_front"
    (container,) = stack.containers("web")
    wait_until(was_tried, "an address that nobody answers")


def test_a_dead_mail_server_delays_no_page_and_loses_no_mail(stack: Stack) -> None:
    stack.compose("pause", "mailhog")
    try:
        begun = time.monotonic()
        answers = [stack.drill("exception") for _ in range(10)]
        # Ten pages that wait for the mail server would take its timeout each.
        assert time.monotonic() - begun < 10 * 5
    finally:
        stack.compose("unpause", "mailhog")
    for answer in answers:
        assert answer.status == 500
        wait_until(
            lambda identifier=answer.request_id: any(
                mail["X-Request-ID"] == identifier for mail in stack.mails()
            ),
            "the mail",
        )
