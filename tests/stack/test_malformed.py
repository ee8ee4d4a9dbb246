"""Ten thousand malformed requests: each gets a response of ours and does no damage."""

from __future__ import annotations

import http.client
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BufferedReader
from statistics import median

from tests.stack.malformed import Malformed, Session, malformed_requests
from tests.stack.test_pages import BARE
from tests.support.compose import NOT_OF_WATCH, Answer, Stack
from tests.support.visitor import Visitor

SEED = int(os.environ.get("SEED", "8"))
COUNT = int(os.environ.get("EXAMPLES", "10000"))
BATCHES = 10
CLIENTS = 8
PATIENCE = 60.0  # seconds
SILENCE = 0.25  # seconds without a response, after which the client closes its side
OLDEST = 0  # in place of a status: HTTP/0.9 has neither status nor headers
UNKNOWN = (501, 505)  # the only 5xx that a client can cause


def test_malformed_requests_always_get_our_page(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    requests = list(malformed_requests(SEED, COUNT, *_sessions(stack)))
    count = f"SELECT count(*) FROM reports WHERE {NOT_OF_WATCH}"
    reports = stack.spool(count)
    statuses: Counter[str] = Counter()
    complaints: list[str] = []
    memory = []
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        for number in range(BATCHES):
            batch = requests[number::BATCHES]
            for answers, wrong in clients.map(lambda one: _ask(stack.http_port, one), batch):
                statuses.update([str(answer.status) for answer in answers] or ["none"])
                complaints += wrong
            memory.append(_memory(stack))
    record_property("requests", f"{COUNT} in {time.monotonic() - begun:.0f} s")
    record_property("answers", dict(sorted(statuses.items())))
    record_property("memory", " ".join(f"{kilobytes >> 10} MiB" for kilobytes in memory))
    assert complaints == []
    assert stack.spool(count) == reports
    assert stack.is_healthy()
    # The first requests fill pools and caches, so they do not count as a leak.
    assert median(memory[-3:]) < 1.25 * median(memory[4:7])


def _sessions(stack: Stack) -> Iterator[Session]:
    """Yield an anonymous session and a logged-in one."""
    visitor = Visitor(stack.url)
    token = visitor.token("/login")
    yield Session(visitor.cookie, token, ("/login", "/register"))
    name = f"v{uuid.uuid4().hex[:8]}"
    visitor.register(name)
    visitor.log_in(name)
    token = visitor.token("/")
    yield Session(visitor.cookie, token, ("/", "/edit_profile"))


def _ask(port: int, request: Malformed) -> tuple[list[Answer], list[str]]:
    """Return the responses to a request, and the problems found in them."""
    answers: list[Answer] = []
    try:
        answers.extend(_send(port, request))
        assert answers or request.endless, "no answer"
        for answer in answers:
            _assert_ours(answer, request)
    except (AssertionError, OSError, http.client.HTTPException) as error:
        received = [(answer.status, answer.text[:200]) for answer in answers]
        return answers, [f"{error!r}: {request.kind} {request.sent[:200]!r} got {received}"]
    return answers, []


def _assert_ours(answer: Answer, request: Malformed) -> None:
    assert not [bare for bare in BARE if bare in answer.text], "a bare page"
    if answer.status == OLDEST:
        assert "<!doctype html>" in answer.text
        return
    assert answer.request_id
    assert answer.status < 500 or answer.status in UNKNOWN
    # A form that is shown again with its errors is not an error page.
    if answer.status >= 400 and not request.head and "There is a problem" not in answer.text:
        assert answer.request_id in answer.text, "no request id in the page"


class _Connection(BufferedReader):
    """A buffered socket that stays open between responses."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(client.makefile("rb", buffering=0))  # type: ignore[arg-type]

    def makefile(self, mode: str) -> _Connection:
        return self

    def close(self) -> None:
        """Stay open: http.client closes its file after each response."""


def _send(port: int, request: Malformed) -> Iterator[Answer]:
    """Send the bytes of ``request`` and yield every response."""
    patience = SILENCE if request.endless else PATIENCE
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as client:
        with suppress(OSError):  # the server closed before all of it was sent
            client.sendall(request.sent)
        if request.kind == "half":
            client.shutdown(socket.SHUT_WR)
        incoming = _Connection(client)
        while True:
            try:
                begun = incoming.peek(5)[:5]
            except TimeoutError:
                if not request.endless:
                    raise
                client.shutdown(socket.SHUT_WR)
                client.settimeout(PATIENCE)
                incoming = _Connection(client)
                continue
            except ConnectionResetError:
                return
            if not begun:
                return
            yield _read(incoming, request) if begun == b"HTTP/" else _read_oldest(incoming)


def _read(incoming: _Connection, request: Malformed) -> Answer:
    method = "HEAD" if request.head else "GET"
    response = http.client.HTTPResponse(incoming, method=method)  # type: ignore[arg-type]
    response.begin()
    return Answer(response.status, response.getheaders(), response.read().decode())


def _read_oldest(incoming: _Connection) -> Answer:
    return Answer(OLDEST, [], incoming.read().decode())


def _memory(stack: Stack) -> int:
    """Return the memory of all processes of web and nginx, in kilobytes."""
    script = "cat /proc/[0-9]*/status | awk '/^RssAnon/ {sum += $2} END {print sum}'"
    return sum(int(stack.shell(service, script)) for service in ("web", "nginx"))
