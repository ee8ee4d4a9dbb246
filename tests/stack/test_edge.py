"""nginx against clients that are slow, numerous, large, or forge its log."""

from __future__ import annotations

import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.compose import Stack, request, wait_until
from tests.support.neighbour import ask, slow_clients
from tests.support.steady_load import steady_load

KINDS = ("headers", "body", "reading")
SECONDS = float(os.environ.get("SLOW_SECONDS", "15"))


def _containers(stack: Stack) -> dict[str, object]:
    """Return what changes if a container is restarted or runs out of memory."""
    found = {}
    for service in ("nginx", "web", "db", "mailhog"):
        container: Any = stack.inspect(service)
        state = container["State"]
        found[service] = (container["Id"], state["StartedAt"], state["OOMKilled"])
    return found


def _statuses(printed: str) -> Counter[str]:
    return Counter(re.findall(r"status=(\d+)", printed))


@pytest.mark.parametrize("on_loopback", [False, True], ids=["own addresses", "loopback"])
def test_a_visitor_is_served_beside_300_slow_connections_of_each_kind(
    stack: Stack, on_loopback: bool, record_property: Callable[[str, object], None]
) -> None:
    before = _containers(stack)
    with ExitStack() as attack:
        for kind in KINDS:
            for count in (300,) if on_loopback else (100, 100, 100):
                attack.enter_context(slow_clients(stack, kind, count, on_loopback=on_loopback))
        times = _visit(stack, SECONDS)
    record_property("visits", f"{len(times)}, p99 {_p99(times):.2f} s")
    assert _p99(times) < 5  # a page that waits for the others would get a 504 after 10 s
    assert _containers(stack) == before


def _visit(stack: Stack, seconds: float) -> list[float]:
    """Open a page again and again; return how long each answer took, in seconds."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        assert stack.get("/explore").status == 200
        times.append(time.monotonic() - begun)
    return times


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99) - 1]


# Each pair of characters is the beginning of many encodings of a secret made of the same pairs.
COOKIES = "".join(f"Cookie: c{number}={'!~' * 124}\r\n" for number in range(62)).encode()
LARGE = b"!~" * 125_000


def test_a_visitor_is_served_beside_requests_that_are_expensive_to_redact(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    before = _containers(stack)

    def small() -> int:
        return _status(_send(stack, b"GET /explore" + HEAD + COOKIES + b"\r\n"))

    def large(number: int) -> int:
        if number % 2:  # more than nginx reads
            head = b"".join(b"Cookie: a=%s\r\n" % LARGE[:6000] for _ in range(42))
            return _status(_send(stack, b"GET /explore" + HEAD + head + b"\r\n"))
        length = b"Content-Length: %d\r\n\r\n" % len(LARGE)
        return _status(_send(stack, b"GET /explore" + HEAD + length + LARGE))

    times, statuses = [], Counter[int]()
    with steady_load(small) as outcomes, ThreadPoolExecutor(8) as attackers:
        for _ in range(6):
            burst = [attackers.submit(large, number) for number in range(8)]
            times += _visit(stack, 1)
            statuses.update(one.result() for one in burst)
    record_property("visits", f"{len(times)}, p99 {_p99(times):.2f} s")
    assert _p99(times) < 5  # a page that waits for the others would get a 504 after 10 s
    assert set(outcomes) == {200}, "the small ones reach the app"
    assert set(statuses) == {200, 431}
    assert _containers(stack) == before


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_an_address_that_sends_too_much_gets_our_429_page(stack: Stack) -> None:
    printed = ask(stack, "/login", method="POST", count=100)
    statuses = _statuses(printed)
    assert statuses["400"] >= 15, "a few attempts are nobody's attack"
    assert statuses["429"] >= 15
    assert "Retry-After: 5" in printed
    assert "Cache-Control: no-store" in printed
    assert "Too many requests" in printed
    (identifier,) = re.findall("X-Request-ID: ([0-9a-f]{32})", printed)
    assert f'<code class="request-id">{identifier}</code>' in printed
    assert identifier in stack.make("logs", f"REQUEST={identifier}").stdout
    as_json = ask(stack, "/login", "Accept: application/json", method="POST", count=100)
    assert '"status": 429' in as_json


def test_ordinary_pages_are_not_limited(stack: Stack) -> None:
    assert _statuses(ask(stack, "/static/microblog.css", count=300)) == {"200": 300}


def test_clients_that_share_the_gateways_address_are_not_limited_one_by_one(stack: Stack) -> None:
    found = Counter(request(f"{stack.url}/login", form={}).status for _ in range(40))
    assert found == {400: 40}


def test_a_large_body_does_not_fill_the_memory(stack: Stack) -> None:
    nginx = {"MAX_BODY": "200m"}
    up = ("docker", "compose", "up", "--detach", "--wait", "--no-build", "--no-deps", "nginx")
    stack.run(*up, **nginx)
    try:
        before = _containers(stack)
        for _ in range(2):
            sent = urllib.request.Request(f"{stack.url}/explore", data=bytes(200 << 20))
            with pytest.raises(urllib.error.HTTPError, match="405"):
                urllib.request.urlopen(sent, timeout=300)
        # 2 GB of the disk are 10 bodies of this size.
        with slow_clients(stack, "body", 12, on_loopback=True):
            post = {"post": "a" * 20_000}
            wait_until(lambda: request(f"{stack.url}/explore", post).status == 429, "the limit")
            assert stack.get("/explore").status == 200
        assert _containers(stack) == before
    finally:
        stack.run(*up)


def _send(stack: Stack, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", stack.http_port), timeout=60) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while part := client.recv(65536):
            received += part
    return received


HEAD = b" HTTP/1.1\r\nHost: x\r\nReferer: http://x/?sesame-referrer\r\nConnection: close\r\n"
LINE = re.compile(
    r'\d{4}-\d\d-\d\dT[0-9:+]+ [0-9.]+ "[A-Za-z-]+ [^"]+" \d{3} [0-9.]+ s \d+ bytes upstream '
    r"[0-9.:, -]+ \[request [0-9a-f]{32}\]"
)


def test_nginx_logs_one_line_for_each_request_and_nothing_else_of_it(stack: Stack) -> None:
    forged = b"/static/a%0a2026-11-27T18:00:00+00:00%20%5Brequest%20" + b"f" * 32 + b"%5D"
    requests = [
        b"POST /login?access_token=sesame"
        + HEAD
        + b"Content-Length: 40000\r\n\r\n"
        + b"a" * 40_000,
        b"POST /login?access_token=sesame" + HEAD + b"Content-Length: 9000000\r\n\r\n",
        b"GET /static/missing?sesame" + HEAD + b"\r\n",
        b"GET " + forged + HEAD + b"\r\n",
        b"GET /\x0a[request " + b"f" * 32 + b"]" + HEAD + b"\r\n",
        b"GET /static/" + b"b" * 5000 + b"?sesame" + HEAD + b"\r\n",
        b"GET /" + b"c" * 20_000 + b"?sesame" + HEAD + b"\r\n",
        b"GET /%?sesame" + HEAD + b"\r\n",
        b"GET /#sesame" + HEAD + b"\r\n",
        b"GET http://sesame@x/" + HEAD + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: sesame\r\nHost: x\r\n\r\n",
    ]
    since = f"{time.time():.6f}"
    for sent in requests:
        assert _send(stack, sent)
    stack.compose("stop", "web")
    assert stack.get("/explore?sesame").status == 502
    stack.compose("start", "web")

    def lines() -> list[str]:
        output = stack.run("docker", "logs", "--since", since, *stack.containers("nginx"))
        return [line for line in (output.stdout + output.stderr).splitlines() if line]

    wait_until(lambda: "/explore" in "".join(lines()), "the last line")
    assert [line for line in lines() if not LINE.fullmatch(line)] == []
    assert "sesame" not in "".join(lines())
    assert max(map(len, lines())) < 600
    assert stack.make("logs", "REQUEST=" + "f" * 32, check=False).returncode != 0


def test_the_log_keeps_its_lines_although_a_visitor_sends_long_paths(stack: Stack) -> None:
    answer = stack.get("/static/remembered")
    before = len(stack.log())
    for _ in range(20):
        assert stack.get("/" + "a" * 7000).status == 404
    assert (len(stack.log()) - before) / 20 < 600
    for service, size in (("nginx", "20m"), ("web", "10m")):
        container: Any = stack.inspect(service)
        assert container["HostConfig"]["LogConfig"]["Config"]["max-size"] == size
    assert answer.request_id in stack.make("logs", f"REQUEST={answer.request_id}").stdout
