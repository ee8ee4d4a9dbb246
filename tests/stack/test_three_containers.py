"""Three web containers share one log and one spool, count together and lose nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.compose import ROOT, Stack, wait_until

LINES = 10_000


@pytest.fixture(scope="module")
def scaled(running_stack: Stack) -> Iterator[Stack]:
    """The running stack with three web containers."""
    if not running_stack.is_healthy():
        running_stack.up("--no-build")
    running_stack.make("scale", "N=3")
    yield running_stack
    running_stack.make("scale", "N=1")


@pytest.fixture
def three(scaled: Stack) -> Stack:
    """The same stack once all three are healthy: one of the tests restarts them."""
    wait_until(lambda: scaled.health("web").split() == ["healthy"] * 3, "three healthy containers")
    return scaled


def _counts(stack: Stack, mark: str, errors: int) -> list[int]:
    """Return the counts of the delivered mails about an error, once they add up to ``errors``."""
    query = (
        "SELECT count FROM mails WHERE state = 'delivered' AND id IN (SELECT mail_id FROM reports"
        f" WHERE body LIKE '%{mark}%') ORDER BY id"
    )
    rows = [int(str(row[0])) for row in stack.spool(query)]
    return rows if sum(rows) >= errors else []


def _raise(stack: Stack, message: str, count: int) -> None:
    def one(number: int) -> int:
        status = stack.drill("exception", message=message).status
        while status != 500:  # a container is being replaced
            status = stack.drill("exception", message=message).status
        return status

    with ThreadPoolExecutor(6) as clients:
        assert len(list(clients.map(one, range(count)))) == count


def _logged(stack: Stack, text: str) -> int:
    """Return how many errors the log has: a few more than were answered if one was cut off."""
    lines = stack.log().splitlines()
    return sum("DrillError: " in line and text in line for line in lines)


def test_a_thousand_different_errors_stay_within_the_cap_and_add_up(other_stack: Stack) -> None:
    cap = 20
    settings = {"REPORT_MAILS_PER_HOUR": str(cap), "REPORT_WINDOW": "3", "WEB_REPLICAS": "3"}
    other_stack.settings.update(settings)
    other_stack.make("up")
    assert len(other_stack.containers("web")) == 3

    def one(number: int) -> None:
        while other_stack.drill("exception", message=f"the {number}th of its kind").status != 500:
            pass  # its container is being replaced

    with ThreadPoolExecutor(6) as clients:
        list(clients.map(one, range(500)))
        other_stack.compose("restart", "--timeout", "20", "web")
        list(clients.map(one, range(500, 1000)))

    errors = _logged(other_stack, "th of its kind")
    assert errors >= 1000

    def all_mailed() -> bool:
        # Not the reports of watch, which may find that the site does not answer meanwhile.
        query = "SELECT count(*) FROM reports JOIN mails ON mails.id = reports.mail_id"
        query += " WHERE state = 'delivered' AND body LIKE '%th of its kind%'"
        return other_stack.spool(query) == [[errors]]

    wait_until(all_mailed, f"{errors} errors in mails")
    kinds = {
        str(kind): int(str(count))
        for kind, count in other_stack.spool("SELECT kind, count(*) FROM mails GROUP BY kind")
    }
    assert kinds.pop("summary") >= 1
    assert sum(kinds.values()) <= cap


def test_a_thousand_identical_errors_become_one_mail_and_one_digest_across_a_restart(
    three: Stack,
) -> None:
    mark = f"equal {random.randrange(1 << 40)}"
    _raise(three, mark, 500)
    with ThreadPoolExecutor(1) as background:
        sending = background.submit(_raise, three, mark, 500)
        three.compose("restart", "--timeout", "20", "web")
        sending.result()
    errors = _logged(three, mark)
    assert errors >= 1000
    counts = wait_until(lambda: _counts(three, mark, errors), "the digest")
    assert isinstance(counts, list)
    assert sum(counts) == errors
    assert counts[0] == 1


def test_three_containers_write_one_log_and_lose_no_line(three: Stack) -> None:
    volume = f"{three.project}_logs"
    command = ["docker", "run", "--rm", "--user", "10001:10001", "--network", "none"]
    command += ["--volume", f"{volume}:/var/log/microblog"]
    command += [
        "--volume",
        f"{ROOT}/tests/support/writers.py:/srv/microblog/tests/support/writers.py:ro",
    ]
    command += [f"{three.project}-web", "python", "tests/support/writers.py"]
    command += ["/var/log/microblog/numbered.log", "--lines", str(LINES)]

    def write(name: str) -> None:
        three.run(*command, "--processes", "2", "--name", name)

    with ThreadPoolExecutor(3) as containers:
        list(containers.map(write, ("a", "b", "c")))
    checked = three.run(*command, "--check").stdout
    assert checked == f"6 writers, {6 * LINES} lines, faults: {{}}\n"
    three.shell("web", "rm -f /var/log/microblog/numbered.log* /var/log/microblog/.numbered*")


def test_the_shared_log_has_every_request_of_every_container(three: Stack) -> None:
    answers = [three.drill("exception") for _ in range(30)]
    log = three.log()
    for answer in answers:
        assert log.count(f"[request {answer.request_id}]") >= 2
    hosts = {
        json.loads(str(row[0]))["host"]
        for row in three.spool("SELECT body FROM reports ORDER BY id DESC LIMIT 30")
    }
    assert len(hosts) == 3
