"""Three couriers with separate spools send as many mails as one would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.agreement.tables import TABLES
from tests.support.nodes import Node, settings_for

NAMES = ("node-1", "node-2", "node-3")


@pytest.fixture
def agreement_url(postgres_server: Any) -> Iterator[str]:
    name = postgres_server.create_database("template0")
    postgres_server.execute(TABLES, name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def make_nodes(tmp_path: Path, smtp_server: Any) -> Iterator[Callable[..., list[Node]]]:
    """Return a function that starts nodes which agree through a database."""
    made: list[Node] = []

    def make(url: str, *names: str, **settings: str) -> list[Node]:
        wanted = settings_for(smtp_server, url, **settings)
        made.extend(Node(name, tmp_path / name, wanted).start() for name in names or NAMES)
        return made

    yield make
    for node in made:
        if node.process is not None:
            node.process.kill()
            node.process.wait(10)
        node.outbox.close()


def fail_everywhere(nodes: list[Node], kinds: dict[str, int]) -> None:
    """Record so many errors of each kind on every node, on all nodes at once."""

    def fail(node: Node) -> None:
        for kind, times in kinds.items():
            node.fail(kind, times)

    with ThreadPoolExecutor(len(nodes)) as threads:
        list(threads.map(fail, nodes))


def settled(nodes: list[Node]) -> bool:
    return not any(node.unsettled() for node in nodes)


def test_a_thousand_identical_errors_on_three_machines_are_two_mails(
    make_nodes: Callable[..., list[Node]],
    agreement_url: str,
    smtp_server: Any,
    wait_until: Callable[..., Any],
) -> None:
    nodes = make_nodes(agreement_url)
    fail_everywhere(nodes, {"same": 333})
    nodes[0].fail("same")
    wait_until(lambda: settled(nodes), "the digest", 40)
    counts = [int(mail["X-Error-Count"]) for mail in smtp_server.mails]
    assert counts == [1, 999]
    digest = smtp_server.mails[1].get_body(("plain",)).get_content()
    numbers = {node.name: int(line.split()[1]) for node in nodes for line in digest.splitlines()
               if line.startswith(f"{node.name}")}
    assert sum(numbers.values()) == 999
