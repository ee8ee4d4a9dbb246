"""Conditions and clients: whatever happens, whoever asks, there is a page or a body of ours."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.compose import Answer, Stack, wait_until

CLIENTS = {
    "browser": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "json": "application/json",
    "curl": "*/*",
}
BARE = ("<center>nginx", "gunicorn", "werkzeug", "<h1><p>", "Internal Server Error</h1>")


def _assert_ours(answer: Answer, client: str, status: int) -> None:
    assert answer.status == status
    identifier = answer.request_id
    if client == "json":
        assert answer.header("Content-Type") == "application/problem+json"
        problem = json.loads(answer.text)
        assert problem["request_id"] == identifier
        assert problem["status"] == status
        assert problem["title"]
    else:
        assert (answer.header("Content-Type") or "").startswith("text/html")
        assert f'<code class="request-id">{identifier}</code>' in answer.text
    assert not [bare for bare in BARE if bare in answer.text]
    varies = [value for key, value in answer.headers if key.lower() == "vary"]
    assert "Accept" in ", ".join(varies).split(", ")
    assert answer.header("Cache-Control") == "no-store"


@contextmanager
def all_well(stack: Stack) -> Iterator[None]:
    yield


@contextmanager
def database_down(stack: Stack) -> Iterator[None]:
    stack.compose("stop", "db")
    yield
    stack.compose("start", "db")
    wait_until(lambda: stack.get("/explore").status == 200, "the database", timeout=60)


@contextmanager
def database_frozen(stack: Stack) -> Iterator[None]:
    stack.compose("pause", "db")
    yield
    stack.compose("unpause", "db")
    wait_until(lambda: stack.health("db") == "healthy", "the database", timeout=60)
    wait_until(lambda: stack.get("/explore").status == 200, "the database", timeout=60)


@contextmanager
def web_gone(stack: Stack) -> Iterator[None]:
    stack.compose("stop", "web")
    wait_until(lambda: stack.get("/").status == 502, "nginx without web")
    yield
    stack.compose("start", "web")
    wait_until(lambda: stack.get("/explore").status == 200, "web", timeout=60)


def get(path: str, **headers: str) -> Callable[[Stack, str], Answer]:
    return lambda stack, accept: stack.get(path, headers={"Accept": accept, **headers})


def post(path: str) -> Callable[[Stack, str], Answer]:
    return lambda stack, accept: stack.get(path, form={}, headers={"Accept": accept})


CONDITIONS = [
    ("no such page", all_well, get("/nothing-here"), 404),
    ("no such file", all_well, get("/static/nothing"), 404),
    ("not for the outside", all_well, get("/health/ready"), 404),
    ("wrong method", all_well, post("/explore"), 405),
    ("address too long", all_well, get("/" + "a" * 9000), 414),
    (
        "from another site",
        all_well,
        lambda stack, accept: stack.get(
            "/drill/exception",
            form={},
            headers={"Accept": accept, "Origin": "https://evil.example"},
        ),
        403,
    ),
    ("exception", all_well, post("/drill/exception"), 500),
    ("broken template", all_well, post("/drill/template"), 500),
    ("worker killed", all_well, post("/drill/crash"), 502),
    ("forged session", all_well, get("/nothing-here", Cookie="session=forged.abc"), 404),
    ("database down", database_down, get("/explore"), 503),
    (
        "database down, logged-in visitor's cookie",
        database_down,
        get("/explore", Cookie="session=forged.abc; remember_token=1|x"),
        503,
    ),
    ("database frozen", database_frozen, get("/explore"), 503),
    ("web gone", web_gone, get("/explore"), 502),
]


@pytest.mark.parametrize(
    ("condition", "ask", "status"),
    [pytest.param(*rest, id=name) for name, *rest in CONDITIONS],
)
def test_every_client_gets_a_page_of_ours(
    stack: Stack,
    condition: Callable[[Stack], Iterator[None]],
    ask: Callable[[Stack, str], Answer],
    status: int,
    record_property: Callable[[str, object], None],
) -> None:
    with condition(stack):  # type: ignore[attr-defined]
        for client, accept in CLIENTS.items():
            begun = time.monotonic()
            _assert_ours(ask(stack, accept), client, status)
            took = time.monotonic() - begun
            assert took < 5
            record_property(client, f"{status} in {took:.2f} s")


@pytest.mark.parametrize("kind", ["", "/nginx"])
def test_the_preview_shows_every_page_and_reports_none(stack: Stack, kind: str) -> None:
    before = stack.spool("SELECT count(*) FROM reports")
    listed = stack.get("/drill/pages").text
    statuses = [s for s in range(400, 600) if f'"/drill/pages{kind}/{s}"' in listed]
    assert len(statuses) >= 11
    for status in statuses:
        for client, accept in CLIENTS.items():
            answer = stack.get(f"/drill/pages{kind}/{status}", headers={"Accept": accept})
            _assert_ours(answer, client, status)
    assert stack.spool("SELECT count(*) FROM reports") == before


def test_what_nginx_refuses_before_the_headers_are_read_has_a_page_too(stack: Stack) -> None:
    for sent, status in (
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    ):
        answer = _raw(stack, sent)
        head, _, body = answer.partition("\r\n\r\n")
        assert head.split()[1] == str(status), head
        assert head.lower().count("x-request-id:") == 1
        assert "request-id" in body
        assert not [bare for bare in BARE if bare in body]


def _raw(stack: Stack, sent: bytes) -> str:
    with socket.create_connection(("127.0.0.1", stack.http_port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
