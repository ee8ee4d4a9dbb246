"""Under every condition, every kind of client gets a page of ours, or a body in its format."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pytest

from tests.support.accept import WANTS_JSON
from tests.support.compose import NOT_OF_WATCH, ROOT, SETTINGS, Answer, Stack, wait_until
from tests.support.visitor import Visitor

CLIENTS = {
    "browser": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "json": "application/json",
    "curl": "*/*",
}
BARE = ("<center>nginx", "gunicorn", "werkzeug", "<h1><p>", "Internal Server Error</h1>")
PATIENCE = 9.0  # seconds within which a page has to come, before the end of REQUEST_TIMEOUT


def _assert_ours(
    answer: Answer, client: str, status: int, retried: tuple[int, ...] = (502, 503)
) -> None:
    assert answer.status == status
    identifier = answer.request_id
    assert not [bare for bare in BARE if bare in answer.text]
    if status < 400:
        return
    if client == "json":
        assert answer.header("Content-Type") == "application/problem+json"
        problem = json.loads(answer.text)
        assert problem["request_id"] == identifier
        assert problem["status"] == status
        assert problem["title"]
    else:
        assert (answer.header("Content-Type") or "").startswith("text/html")
        if "There is a problem" in answer.text:
            return  # a form that is shown again, with what was typed
        assert f'<code class="request-id">{identifier}</code>' in answer.text
    varies = [value for key, value in answer.headers if key.lower() == "vary"]
    assert "Accept" in ", ".join(varies).split(", ")
    assert answer.header("Cache-Control") == "no-store"
    assert (answer.header("Retry-After") is not None) == (status in retried)


# Conditions


@contextmanager
def all_well(stack: Stack) -> Iterator[None]:
    yield


@contextmanager
def database_down(stack: Stack) -> Iterator[None]:
    stack.compose("stop", "db")
    try:
        yield
    finally:
        stack.compose("start", "db")
    _wait_for_the_database(stack)


@contextmanager
def database_frozen(stack: Stack) -> Iterator[None]:
    stack.compose("pause", "db")
    try:
        yield
    finally:
        stack.compose("unpause", "db")
    _wait_for_the_database(stack)


def _wait_for_the_database(stack: Stack) -> None:
    wait_until(lambda: stack.health("db") == "healthy", "the database")
    _wait_until_all_serve(stack)


def _wait_until_all_serve(stack: Stack) -> None:
    """Wait for 3 s of good pages: each worker of web and nginx notices for itself.

    A worker of nginx may wait for 2 s for the answer to a query from before.
    """

    def serve() -> bool:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if stack.get("/explore").status != 200:
                return False
        return True

    wait_until(serve, "pages from every worker")


@contextmanager
def web_gone(stack: Stack) -> Iterator[None]:
    stack.compose("stop", "web")
    wait_until(lambda: stack.get("/").status == 502, "nginx without web")
    yield
    stack.compose("start", "web")
    _wait_until_all_serve(stack)


@contextmanager
def web_not_found(stack: Stack) -> Iterator[None]:
    with _name_server_silent(stack, "nginx"):
        wait_until(lambda: stack.get("/").status == 502, "nginx without names")
        yield
    _wait_until_all_serve(stack)


@contextmanager
def database_not_found(stack: Stack) -> Iterator[None]:
    with database_down(stack), _name_server_silent(stack, "web"):
        yield


@contextmanager
def _name_server_silent(stack: Stack, service: str) -> Iterator[None]:
    """Let nothing through to Docker's name server, which then does not even refuse."""
    if os.geteuid() != 0 or not shutil.which("iptables"):
        pytest.skip("only root can silence a name server, with iptables")
    pid = stack.run("docker", "inspect", "-f", "{{.State.Pid}}", *stack.containers(service)).stdout
    iptables = ("nsenter", "--target", pid.strip(), "--net", "iptables")
    rule = ("INPUT", "--protocol", "udp", "--destination", "127.0.0.11", "--jump", "DROP")
    stack.run(*iptables, "--insert", *rule)
    try:
        yield
    finally:
        stack.run(*iptables, "--delete", *rule)


@contextmanager
def key_rotated(stack: Stack) -> Iterator[None]:
    """Make another secret key, as one does when others have come to know it."""
    stack.compose("run", "--rm", "--no-deps", "init", "rm", "/run/secrets/secret_key")
    stack.up("--no-build", "--force-recreate", "web")
    yield


@contextmanager
def template_missing(stack: Stack) -> Iterator[None]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with _mounted(stack, folder, "/srv/microblog/app/templates/mayday"):
            yield


@contextmanager
def handler_raises(stack: Stack) -> Iterator[None]:
    code = (ROOT / "flask_mayday/pages/error_pages.py").read_text()
    first = "        if error.response is not None"
    assert first in code
    with NamedTemporaryFile("w") as file:
        file.write(code.replace(first, "        1 / 0\n" + first))
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        with _mounted(stack, file.name, "/opt/venv/flask_mayday/pages/error_pages.py"):
            yield


@contextmanager
def _mounted(stack: Stack, source: str, target: str) -> Iterator[None]:
    """Put something else in the place of a file or folder of web's."""
    up = ("up", "--detach", "--wait", "--no-build", "--no-deps", "web")
    volumes = [f"{source}:{target}:ro"]
    with NamedTemporaryFile("w", suffix=".yaml") as override:
        json.dump({"services": {"web": {"volumes": volumes}}}, override)
        override.flush()
        stack.compose("--file", "compose.yaml", "--file", override.name, *up)
    try:
        yield
    finally:
        stack.compose(*up)


@dataclass(frozen=True)
class Case:
    name: str
    path: str
    status: int
    condition: Callable[[Stack], AbstractContextManager[None]] = all_well
    form: Mapping[str, str] | None = None
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    logged_in: bool = False
    within: float = PATIENCE

    def ask(self, stack: Stack, cookie: str, accept: str) -> Answer:
        """Ask as the client that accepts this."""
        headers = {**self.headers, "Accept": accept}
        if self.logged_in:
            headers["Cookie"] = cookie
        return stack.get(self.path, form=self.form, method=self.method, headers=headers)


ELSEWHERE = {"Origin": "https://evil.example"}
FORGED = {"Cookie": "session=forged.abc; remember_token=1|x"}
TIMEOUT = float(SETTINGS["REQUEST_TIMEOUT"])
CASES = [
    Case("no such page", "/nothing-here", 404),
    Case("no such file", "/static/nothing", 404),
    Case("not for the outside", "/health/ready", 404),
    Case("wrong method", "/explore", 405, form={}),
    Case("wrong method for a file", "/static/icon.svg", 405, form={}),
    Case("TRACE", "/explore", 405, method="TRACE"),
    Case("a folder", "/static/", 404),
    Case("from another site", "/drill/exception", 403, form={}, headers=ELSEWHERE),
    Case("file has changed", "/static/icon.svg", 412, headers={"If-Match": '"former"'}),
    Case("form too large", "/", 413, form={"post": "a" * (1 << 20)}),
    Case("address too long", "/" + "a" * 9000, 414),
    Case("headers too large", "/explore", 431, headers={"X": "a" * 20_000}),
    Case("unknown coding", "/", 501, headers={"Transfer-Encoding": "unknown"}),
    Case("form without its token", "/login", 400, form={"username": "susan"}),
    Case("the same, logged in", "/", 400, form={"post": "Not mine"}, logged_in=True),
    *(
        Case(f"preview of {status}", f"/drill/pages/{status}", status)
        for status in (401, 410, 415, 429, 501)
    ),
    Case("exception", "/drill/exception", 500, form={}),
    Case("broken template", "/drill/template", 500, form={}),
    Case("template missing", "/nothing-here", 404, template_missing),
    Case("handler raises", "/nothing-here", 500, handler_raises),
    Case("worker killed", "/drill/crash", 502, form={}),
    Case("worker timed out", "/drill/timeout", 504, form={}, within=TIMEOUT + 10),
    Case("forged session", "/nothing-here", 404, headers=FORGED),
    Case("forged session where one is needed", "/edit_profile", 302, headers=FORGED),
    Case("session of an old key", "/nothing-here", 404, key_rotated, logged_in=True),
    Case("old session where one is needed", "/edit_profile", 302, key_rotated, logged_in=True),
    Case("database down", "/explore", 503, database_down),
    Case("database down, logged in", "/", 503, database_down, logged_in=True),
    Case("database down, forged session", "/explore", 503, database_down, headers=FORGED),
    Case("database frozen, logged in", "/", 503, database_frozen, logged_in=True),
    Case("database frozen", "/explore", 503, database_frozen),
    Case("database not found, logged in", "/", 503, database_not_found, logged_in=True),
    Case("database not found", "/explore", 503, database_not_found),
    Case("web gone", "/explore", 502, web_gone),
    Case("web not found", "/explore", 502, web_not_found),
]


# Cases in a row with the same condition are tested in one: to make it and to end it takes seconds.
GROUPS = [
    group
    for condition, cases in groupby(CASES, lambda case: case.condition)
    for group in ([[case] for case in cases] if condition is all_well else [list(cases)])
]


@pytest.mark.parametrize("cases", GROUPS, ids=lambda cases: cases[0].name)
def test_every_client_gets_a_page_of_ours(
    stack: Stack, cases: list[Case], record_property: Callable[[str, object], None]
) -> None:
    cookie = _log_in(stack) if any(case.logged_in for case in cases) else ""

    def ask(case: Case, accept: str) -> tuple[Answer, float]:
        begun = time.monotonic()
        return case.ask(stack, cookie, accept), time.monotonic() - begun

    with cases[0].condition(stack), ThreadPoolExecutor(len(CLIENTS)) as clients:
        answered = [list(clients.map(partial(ask, case), CLIENTS.values())) for case in cases]
    for case, answers in zip(cases, answered, strict=True):
        for client, (answer, seconds) in zip(CLIENTS, answers, strict=True):
            _assert_ours(answer, client, case.status)
            assert seconds < case.within, case.name
            record_property(f"{case.name}, {client}", f"{answer.status} in {seconds:.2f} s")


def _log_in(stack: Stack) -> str:
    """Register, log in, and return the cookie."""
    visitor, name = Visitor(stack.url), f"v{uuid.uuid4().hex[:8]}"
    visitor.register(name)
    assert visitor.log_in(name).status == 200
    return visitor.cookie


REPLACING = ("up", "--detach", "--wait", "--no-build", "--no-deps", "--force-recreate", "web")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param(("restart", "db"), 503, id="database restarting"),
        pytest.param(("restart", "web"), 502, id="web starting"),
        pytest.param(REPLACING, 502, id="web being replaced"),
    ],
)
def test_every_client_gets_a_page_of_ours_while_a_service_restarts(
    stack: Stack,
    change: tuple[str, ...],
    status: int,
    record_property: Callable[[str, object], None],
) -> None:
    slowest = dict.fromkeys(CLIENTS, 0.0)
    statuses: dict[str, Counter[int]] = {client: Counter() for client in CLIENTS}

    def change_until_all_have_seen_it() -> None:
        for _ in range(10):
            stack.compose(*change)
            if all(counts[status] for counts in statuses.values()):
                return

    changing = threading.Thread(target=change_until_all_have_seen_it)
    changing.start()
    try:
        while changing.is_alive():
            for client, accept in CLIENTS.items():
                begun = time.monotonic()
                answer = stack.get("/explore", headers={"Accept": accept})
                slowest[client] = max(slowest[client], time.monotonic() - begun)
                statuses[client][answer.status] += 1
                if answer.status != 200:
                    _assert_ours(answer, client, status)
    finally:  # the next test needs a stack that nobody changes
        changing.join()
        _wait_until_all_serve(stack)
    for client, counts in statuses.items():
        assert counts[status]
        assert slowest[client] < PATIENCE
        counted = ", ".join(f"{count} x {number}" for number, count in sorted(counts.items()))
        record_property(client, f"{counted}, slowest {slowest[client]:.2f} s")


def test_nginx_and_the_app_read_the_accept_header_alike(stack: Stack) -> None:
    for accept, wanted in WANTS_JSON:
        answer = stack.get("/health/ready", headers={"Accept": accept})
        is_json = answer.header("Content-Type") == "application/problem+json"
        assert (accept, is_json) == (accept, wanted)


@pytest.mark.parametrize("kind", ["", "/nginx"])
def test_the_preview_shows_every_page_and_reports_none(stack: Stack, kind: str) -> None:
    count = f"SELECT count(*) FROM reports WHERE {NOT_OF_WATCH}"
    before = stack.spool(count)
    listed = stack.get("/drill/pages").text
    statuses = [s for s in range(400, 600) if f'"/drill/pages{kind}/{s}"' in listed]
    assert len(statuses) >= 14
    for status in statuses:
        for client, accept in CLIENTS.items():
            answer = stack.get(f"/drill/pages{kind}/{status}", headers={"Accept": accept})
            _assert_ours(answer, client, status, (429, 502, 503) if kind else (502, 503))
    assert stack.spool(count) == before


def test_requests_refused_before_their_headers_are_read_get_a_page(stack: Stack) -> None:
    for sent, status in (
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"\x16\x03\x01\0\xc2\x01\0\0\xbe\x03\x03" + b"a" * 190 + b"\r\n", 400),  # TLS
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    ):
        answer = _raw(stack, sent)
        head, _, body = answer.partition("\r\n\r\n")
        assert head.split()[1] == str(status), head
        assert head.lower().count("x-request-id:") == 1
        assert "request-id" in body
        assert not [bare for bare in BARE if bare in body]


def test_a_client_that_has_closed_its_sending_side_is_answered(stack: Stack) -> None:
    request = "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for path in ("/explore", "/static/icon.svg"):
        answer = _raw(stack, request.format(path).encode())
        assert answer.startswith("HTTP/1.1 200 OK\r\n")


def _raw(stack: Stack, sent: bytes) -> str:
    with socket.create_connection(("127.0.0.1", stack.http_port), timeout=60) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
