"""Which side closes a connection first: its port stays in use for a minute."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TIME_WAIT = "06"  # in /proc/net/tcp


@contextmanager
def asked(port: int, path: str, method: str = "GET") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def kept_ports(port: int) -> int:
    """Return the clients' ports that are taken by connections to ``port`` that have ended."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == TIME_WAIT for row in rows)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/login"), ("GET", "/no"), ("HEAD", "/login")]
)
def test_no_port_of_the_proxy_stays_taken(
    gunicorn: Callable[..., Any], method: str, path: str
) -> None:
    """nginx closes a connection as soon as it has the whole response."""
    server = gunicorn()
    for _ in range(50):
        with asked(server.port, path, method) as client:
            answer_on(client, method)
    assert kept_ports(server.port) == 0


def test_a_client_that_keeps_its_connection_delays_no_other(gunicorn: Callable[..., Any]) -> None:
    """gunicorn's own worker waits two seconds for such a client, and accepts nobody meanwhile."""
    server = gunicorn(WEB_CONCURRENCY="1", WEB_THREADS="2")

    def is_overtaken() -> bool:
        with asked(server.port, "/login") as first:
            answer_on(first, "GET")
            with asked(server.port, "/login") as second:
                answer_on(second, "GET")
                return is_held(server.port, first.getsockname()[1])

    # Not always, because on a busy machine any answer may take two seconds.
    assert sum(is_overtaken() for _ in range(6)) >= 3


def answer_on(client: socket.socket, method: str) -> None:
    received = b""
    while not is_whole(received, method):
        received += client.recv(1 << 20)


def is_held(port: int, client_port: int) -> bool:
    """Return whether the server has a file descriptor for the connection of a client."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = (f":{port:04X}", f":{client_port:04X}")
    return any((row[1][8:], row[2][8:]) == ends and row[9] != "0" for row in rows)


def is_whole(received: bytes, method: str) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator or method == "HEAD":
        return bool(separator)
    (length,) = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return len(body) == length
