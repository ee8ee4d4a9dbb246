"""Three couriers with separate spools send as many mails as one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from flask_mayday.agreement.tables import TABLES
from tests.support.nodes import WINDOW, Node, settings_for
from tests.support.webhook_server import WebhookServer

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("node-1", "node-2", "node-3")
MakeNodes = Callable[..., list[Node]]
WaitUntil = Callable[..., Any]


@pytest.fixture
def agreement_url(bare_postgres_server: Any) -> Iterator[str]:
    name = bare_postgres_server.create_database("template0")
    bare_postgres_server.execute(TABLES, name)
    yield bare_postgres_server.url(name)
    bare_postgres_server.drop_database(name)


@pytest.fixture
def make_nodes(tmp_path: Path, smtp_server: Any, agreement_url: str) -> Iterator[MakeNodes]:
    """Return a function that starts nodes which agree through a database."""
    made: list[Node] = []

    def make(*names: str, call_timeout: float = 30.0, **settings: str) -> list[Node]:
        wanted = settings_for(smtp_server, agreement_url, **settings)
        for name in names or NAMES:
            made.append(Node(name, tmp_path / name, wanted, call_timeout).start())
        return made

    yield make
    for node in made:
        if node.process is not None:
            node.process.kill()
            node.process.wait(60)
        node.outbox.close()


def fail_everywhere(nodes: list[Node], kinds: dict[str, int]) -> None:
    """Record errors on all nodes at once: ``kinds`` gives the number of each kind per node."""

    def fail(node: Node) -> None:
        for kind, times in kinds.items():
            node.fail(kind, times)

    with ThreadPoolExecutor(len(nodes)) as threads:
        list(threads.map(fail, nodes))


def postgres(url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Return a function that runs a query."""

    def query(statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    return query


def settled(nodes: list[Node]) -> bool:
    return not any(node.unsettled() for node in nodes)


def windows_since(started: float) -> int:
    """Return how many windows may have ended since a time of the monotonic clock."""
    return int((time.monotonic() - started) // WINDOW)


def assert_one_mail_and_a_digest(counts: list[int], total: int, started: float) -> None:
    """Check the counts of one error's mails, in their order; ``started`` is before the first error.

    On a busy machine a node may count too late for the digest, and its counts are in the next.
    """
    assert counts[0] == 1
    assert sum(counts) == total
    assert 2 <= len(counts) <= 1 + windows_since(started)


def test_a_thousand_identical_errors_on_three_machines_are_two_mails(
    make_nodes: MakeNodes, smtp_server: Any, wait_until: WaitUntil
) -> None:
    nodes = make_nodes()
    started = time.monotonic()
    fail_everywhere(nodes, {"same": 333})
    nodes[0].fail("same")
    wait_until(lambda: settled(nodes), "the digest")
    counts = [int(mail["X-Error-Count"]) for mail in smtp_server.mails]
    assert_one_mail_and_a_digest(counts, 1000, started)
    numbers = [
        int(line.split()[1])
        for digest in smtp_server.mails[1:]
        for line in digest.get_body(("plain",)).get_content().splitlines()
        if line.startswith(NAMES)
    ]
    assert sum(numbers) == 999


def test_different_errors_on_three_machines_share_the_hourly_cap(
    make_nodes: MakeNodes, smtp_server: Any, wait_until: WaitUntil
) -> None:
    nodes = make_nodes(REPORT_MAILS_PER_HOUR="20")
    started = time.monotonic()
    fail_everywhere(nodes, {f"kind-{number}": 2 for number in range(200)})
    wait_until(lambda: settled(nodes), "the summaries")
    kinds = Counter(
        "summary" if mail["X-Error-Fingerprint"] is None else "single" for mail in smtp_server.mails
    )
    assert kinds["single"] == 20
    assert smtp_server.total() == 3 * 2 * 200
    assert 1 <= kinds["summary"] <= 1 + windows_since(started)  # as with one machine


def test_without_postgresql_each_machine_decides_alone_and_says_so(
    make_nodes: MakeNodes, bare_postgres_server: Any, smtp_server: Any, wait_until: WaitUntil
) -> None:
    database = bare_postgres_server
    nodes = make_nodes()
    started = time.monotonic()
    fail_everywhere(nodes, {"before": 10})
    wait_until(lambda: settled(nodes), "the digest")
    together = len(smtp_server.mails)
    assert 2 <= together <= 1 + windows_since(started)
    database.stop("immediate")
    started = time.monotonic()
    fail_everywhere(nodes, {"meanwhile": 10, "before": 10})
    wait_until(lambda: smtp_server.total() == 30 + 60, "the mails of each machine")
    alone = smtp_server.mails[together:]
    assert len(alone) <= 3 * 2 * (1 + windows_since(started))  # three machines, two errors
    for mail in alone:
        text = mail.get_body(("plain",)).get_content()
        assert "Decided alone" in text
        assert "PostgreSQL has not answered since" in text
        assert any(name in text for name in NAMES)
    database.start()
    wait_until(lambda: all("agree again" in node.output for node in nodes), "the agreement")
    started = time.monotonic()
    fail_everywhere(nodes, {"afterwards": 10})
    wait_until(lambda: settled(nodes), "the digest")
    assert smtp_server.total() == 30 + 60 + 30
    assert 2 <= len(smtp_server.mails) - together - len(alone) <= 1 + windows_since(started)


def test_a_frozen_database_delays_a_mail_by_seconds_only(
    make_nodes: MakeNodes, bare_postgres_server: Any, smtp_server: Any, wait_until: WaitUntil
) -> None:
    database = bare_postgres_server
    (node,) = make_nodes("node-1", call_timeout=1.5)
    node.fail("first")
    wait_until(lambda: smtp_server.mails, "the mail")
    with database.frozen():
        node.fail("second")
        wait_until(lambda: len(smtp_server.mails) == 2, "the mail of a node alone")


def test_a_machine_that_was_down_delivers_all_that_it_had_recorded(
    make_nodes: MakeNodes, smtp_server: Any, wait_until: WaitUntil
) -> None:
    nodes = make_nodes()
    node = nodes[2]
    node.stop(signal.SIGKILL)
    fail_everywhere(nodes, {"same": 50, "other": 1})
    others = nodes[:2]
    wait_until(lambda: settled(others), "the digests of the others")
    assert smtp_server.total() == 2 * 51
    node.start()
    wait_until(lambda: settled(nodes), "what was recorded meanwhile")
    assert smtp_server.total() == 3 * 51


def test_the_claim_of_a_killed_courier_is_taken_over(
    make_nodes: MakeNodes, agreement_url: str, smtp_server: Any, wait_until: WaitUntil
) -> None:
    """It is killed after it has claimed a mail and before it sends it."""
    smtp_server.behave("hang")
    first, second = make_nodes("node-1", "node-2")
    first.fail("same", 21)
    claim = "SELECT node FROM mayday.claim"
    database = postgres(agreement_url)
    wait_until(lambda: database(claim) == [("node-1",)], "the claim")
    second.fail("same")
    first.stop(signal.SIGKILL)
    smtp_server.behave("accept")
    wait_until(lambda: not second.unsettled(), "the mail of the other")
    assert database(claim)[0] == ("node-2",)
    taken_over = smtp_server.mails[0]
    assert "node-2" in taken_over.get_body(("plain",)).get_content()
    first.start()
    wait_until(lambda: settled([first, second]), "what the killed one had recorded")
    assert smtp_server.total() == 22
    ids = [mail["Message-ID"] for mail in smtp_server.mails]
    assert len(ids) == len(set(ids))


def test_the_digest_of_a_killed_courier_is_taken_over_with_all_counts(
    make_nodes: MakeNodes, agreement_url: str, smtp_server: Any, wait_until: WaitUntil
) -> None:
    nodes = make_nodes("node-1", "node-2")
    started = time.monotonic()
    fail_everywhere(nodes, {"same": 10})
    wait_until(lambda: smtp_server.total() == 1, "the mail")
    smtp_server.behave("hang")
    database = postgres(agreement_url)
    digest = "SELECT node FROM mayday.claim WHERE previous IS NOT NULL"
    ((name,),) = wait_until(lambda: database(digest), "the claim of the digest")
    killed, other = sorted(nodes, key=lambda node: node.name != name)
    killed.stop(signal.SIGKILL)
    smtp_server.behave("accept")
    wait_until(lambda: not other.unsettled(), "the digest of the other")
    assert (other.name,) in database(digest)
    killed.start()
    wait_until(lambda: settled(nodes), "the killed one to learn of it")
    counts = [int(mail["X-Error-Count"]) for mail in smtp_server.mails]
    assert_one_mail_and_a_digest(counts, 20, started)


def test_the_last_courier_of_a_machine_delivers_before_it_ends(
    make_nodes: MakeNodes, smtp_server: Any, wait_until: WaitUntil
) -> None:
    first, second = make_nodes("node-1", "node-2", REPORT_WINDOW="600")
    first.fail("same")
    wait_until(lambda: smtp_server.total() == 1, "the mail")
    second.fail("same", 7)
    wait_until(lambda: not list(second.outbox.incoming.waiting()), "the courier to take them")
    assert second.stop() == 0
    assert smtp_server.total() == 8
    assert second.unsettled() == 0


def test_the_couriers_role_can_use_their_two_tables_and_nothing_else(
    bare_postgres_server: Any, tmp_path: Path
) -> None:
    """The tables are made by the owner of the database, who is no superuser, and repeatably."""
    server = bare_postgres_server
    name = server.create_database("template0")
    server.execute("CREATE ROLE tables_owner LOGIN")
    server.execute("CREATE ROLE mayday_courier LOGIN")
    server.execute(f"ALTER DATABASE {name} OWNER TO tables_owner")
    address = f"127.0.0.1:{server.port}/{name}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"postgresql://tables_owner@{address}",
    }
    for _ in range(2):
        command = [sys.executable, str(ROOT / "docker/stack/agreement_tables.py")]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=180)
    server.execute("CREATE TABLE public.app_table (id int)", name)
    run = postgres(f"postgresql://mayday_courier@{address}")
    assert run("SELECT * FROM mayday.claim") == run("SELECT * FROM mayday.count") == []
    rights = "SELECT count(*) FROM information_schema.role_table_grants"
    assert run(f"{rights} WHERE grantee = 'mayday_courier'") == [(8,)]
    for refused in ("SELECT * FROM public.app_table", "CREATE TABLE mayday.mine (id int)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run(refused)
    server.drop_database(name)
    server.execute("DROP ROLE tables_owner, mayday_courier")


def test_a_database_that_cannot_be_reached_stops_the_start_with_a_message() -> None:
    address = "postgresql://tables_owner@127.0.0.1:1/none"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": address}
    command = [sys.executable, str(ROOT / "docker/stack/agreement_tables.py")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("The tables for COURIERS_AGREE cannot be created: ")


def test_the_webhook_follows_the_same_decisions(
    make_nodes: MakeNodes, agreement_url: str, wait_until: WaitUntil
) -> None:
    """Without a mail server too."""
    webhook = WebhookServer()
    nodes = make_nodes(
        "node-1",
        "node-2",
        MAIL_SERVER="",
        REPORT_WEBHOOK_URL=webhook.url,
        WEBHOOK_ALLOW="127.0.0.0/8",
    )
    started = time.monotonic()
    fail_everywhere(nodes, {"same": 20})

    def counts() -> list[int]:
        return [message["count"] for message in webhook.messages()]

    wait_until(lambda: sum(counts()) == 40, "the digest")
    assert_one_mail_and_a_digest(counts(), 40, started)
    database = postgres(agreement_url)
    sent = "SELECT count(*) FROM mayday.claim WHERE sent_at IS NOT NULL"
    wait_until(lambda: database(sent) == [(len(counts()),)], "the note that all are sent")
    webhook.close()
