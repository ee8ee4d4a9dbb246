"""A broken spool: visitors do not notice, operators see a warning, and nothing is lost."""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime

import pytest

from tests.support.compose import PROJECT, Answer, Stack, end, wait_until

PAGES = 20
LATER = 0.1  # seconds by which a page may be slower: the promise
SPOOL = "/var/spool/microblog"
WORKERS = "/proc/1/task/1/children"


@pytest.fixture(scope="module")
def small_spool() -> Iterator[Stack]:
    """A stack whose spool is on a small disk of its own."""
    stack = Stack(f"{PROJECT}-spool")
    stack.settings["COMPOSE_FILE"] = "compose.yaml:tests/stack/small_spool.yaml"
    stack.remove()
    stack.compose("build")
    stack.up()
    # The faults are made in web, which then is the courier: watch would have its own view of them.
    stack.compose("stop", "watch")
    yield stack
    end(stack)


def _replace_workers(stack: Stack) -> None:
    before = stack.shell("web", f"cat {WORKERS}").split()
    stack.shell("web", f"kill -9 $(cat {WORKERS})")

    def replaced() -> bool:
        now = stack.shell("web", f"cat {WORKERS}").split()
        return len(now) == len(before) and set(now).isdisjoint(before)

    wait_until(replaced, "other workers")


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Another process locks the database until all pages are there."""
    script = (
        "import os, sqlite3, time;"
        f"spool = sqlite3.connect('{SPOOL}/reports.db', timeout=10, isolation_level=None);"
        "spool.execute('BEGIN EXCLUSIVE'); print('locked', flush=True);"
        "[time.sleep(0.1) for _ in range(3000) if not os.path.exists('/tmp/release')];"
        "spool.close(); print('released')"
    )
    stack.compose("exec", "--detach", "web", "sh", "-c", f'python3 -c "{script}" >/tmp/locked')
    wait_until(lambda: stack.shell("web", "cat /tmp/locked", check=False), "the lock")
    try:
        yield
    finally:
        stack.shell("web", "touch /tmp/release")
    wait_until(lambda: "released" in stack.shell("web", "cat /tmp/locked"), "the lock's end")


@contextmanager
def corrupt(stack: Stack) -> Iterator[None]:
    """Everything but the database's first page is overwritten, and so is its WAL."""
    stack.shell(
        "web",
        f"cd {SPOOL}; for f in reports.db reports.db-wal; do"
        " dd if=/dev/urandom of=$f bs=4096 seek=1 count=200 conv=notrunc 2>/dev/null; done",
    )
    _replace_workers(stack)  # one that runs would go on with the pages that it has in memory
    yield


@contextmanager
def deleted(stack: Stack) -> Iterator[None]:
    """Everything in the folder is deleted while it is in use."""
    stack.shell("web", f"rm -rf {SPOOL}/*")
    yield


@contextmanager
def read_only(stack: Stack) -> Iterator[None]:
    """The folder is read-only, as with the wrong owner, and the workers have just started."""
    stack.shell("web", f"mkdir -p {SPOOL}/incoming; chmod -R a-w {SPOOL}")
    try:
        _replace_workers(stack)
        yield
    finally:
        stack.shell("web", f"chmod -R u+w {SPOOL}")


@contextmanager
def full_disk(stack: Stack) -> Iterator[None]:
    """Another file fills the disk."""
    stack.shell("web", f"cat /dev/zero >{SPOOL}/filler || true")
    try:
        # The blocks already allocated to the files have space for a few more reports.
        wait_until(lambda: _logs_a_warning(stack), "a spool that is full")
        yield
    finally:
        stack.shell("web", f"rm {SPOOL}/filler")


def _logs_a_warning(stack: Stack) -> bool:
    stack.drill("exception", message=secrets.token_hex(3000))
    return "in memory only" in stack.get("/health/live").text


# The fault, and the words for it in the container's output.
FAULTS: dict[str, tuple[Callable[[Stack], AbstractContextManager[None]], str]] = {
    "locked": (locked, ""),
    "corrupt": (corrupt, "The spool's database cannot be used and is replaced"),
    "deleted": (deleted, ""),
    "read-only": (read_only, "could not be written to the spool .*kept in memory"),
    "disk full": (full_disk, "could not be written to the spool .*kept in memory"),
}


def _fail(stack: Stack) -> tuple[list[Answer], list[float]]:
    """Raise different exceptions; return the pages and their seconds."""
    answers, taken = [], []
    for _ in range(PAGES):
        begun = time.monotonic()
        answers.append(stack.drill("exception"))
        taken.append(time.monotonic() - begun)
    return answers, taken


def _delivered(stack: Stack) -> set[str]:
    return {str(mail["X-Request-ID"]) for mail in stack.mails()}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_broken_spool_delays_no_page_and_loses_no_error(
    small_spool: Stack,
    fault: Callable[[Stack], AbstractContextManager[None]],
    expected: str,
    record_property: Callable[[str, object], None],
) -> None:
    stack = small_spool
    _, before = _fail(stack)
    since = datetime.now(UTC).isoformat()
    with fault(stack):
        answers, meanwhile = _fail(stack)
        if "kept in memory" in expected:  # by either worker, or by both
            wait_until(
                lambda: "in memory only" in stack.get("/health/live").text, "the word of the worker"
            )
    fixed = time.monotonic()
    assert {answer.status for answer in answers} == {500}
    # A busy machine delays some pages, but hardly all of them.
    assert min(meanwhile) < statistics.median(before) + LATER
    # Neither of the two workers may wait for the spool, which takes seconds.
    assert sorted(meanwhile)[PAGES * 3 // 4] < max(before) + 2.0
    ids = {answer.request_id for answer in answers}
    wait_until(lambda: ids <= _delivered(stack), f"mails of {PAGES} errors")
    seconds = time.monotonic() - fixed
    log = stack.log()
    for identifier in ids:
        lines = [line for line in log.splitlines() if f"[request {identifier}]" in line]
        assert any("Exception on /drill/exception" in line for line in lines)
    said = stack.compose("logs", "--no-log-prefix", "--since", since, "web")
    assert not expected or re.search(expected, said), said
    wait_until(
        lambda: '"spool":"ok"' in stack.get("/health/live").text.replace(" ", ""),
        "a spool that works again",
    )
    record_property("visitor", f"500, {(min(meanwhile) - min(before)) * 1000:+.0f} ms")
    record_property("log", "traceback")
    record_property("mail", f"{PAGES} of {PAGES}, {seconds:.1f} s after it was fixed")
